"""The same fits in H2O-3 over its REST API; needs Java and the extra `peers`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h2o
from h2o.estimators import H2ODeepLearningEstimator

from benchmarks.plain import digits_data
from service.demo import T_C, T_U

VALIDATION = 0.2
MEMORY = "4G"


@dataclass(frozen=True)
class Cluster:
    """A running H2O server that holds the data.

    H2O takes one step per row, so that only the number of epochs is comparable with systems that use batches.

    Attributes:
        thermometer_frames: Training and validation frame of the thermometer data.
        digits_frames: Training and validation frame of the digits data.
    """

    thermometer_frames: tuple[Any, Any]
    digits_frames: tuple[Any, Any]

    def thermometer(self, epochs: int) -> None:
        """Fit 13 tanh units by gradient descent."""
        arguments = {"hidden": [13], "activation": "Tanh", "adaptive_rate": False, "rate": 1e-3}
        _fit(self.thermometer_frames, epochs, arguments)

    def digits(self, epochs: int) -> None:
        """Fit a 64-128-10 network with H2O's adaptive learning rate."""
        _fit(self.digits_frames, epochs, {"hidden": [128], "activation": "Rectifier"})


def _fit(frames: tuple[Any, Any], epochs: int, arguments: Mapping[str, Any]) -> None:
    training, validation = frames
    model = H2ODeepLearningEstimator(epochs=epochs, seed=0, standardize=False, stopping_rounds=0, **arguments)
    model.train(y="target", training_frame=training, validation_frame=validation)


@contextmanager
def h2o_cluster() -> Iterator[Cluster]:
    """Run an H2O server with one thread on this machine."""
    h2o.init(nthreads=1, max_mem_size=MEMORY, bind_to_localhost=True, verbose=False)
    h2o.no_progress()
    try:
        inputs, targets = digits_data()
        digits = h2o.H2OFrame([[*row, target] for row, target in zip(inputs, targets, strict=True)])
        digits.columns = [*(f"x{index}" for index in range(len(inputs[0]))), "target"]
        digits["target"] = digits["target"].asfactor()
        thermometer = h2o.H2OFrame({"t_u": [0.1 * value for value in T_U], "target": T_C})
        yield Cluster(_split(thermometer), _split(digits))
    finally:
        h2o.cluster().shutdown()


def _split(frame: Any) -> tuple[Any, Any]:
    """Return the first rows for training and the last rows for validation."""
    rows = frame.nrows - int(VALIDATION * frame.nrows)
    return frame[:rows, :], frame[rows:, :]
