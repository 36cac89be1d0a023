"""The same fits in H2O-3, over its REST API. It needs Java, and the extra `peers`."""

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
    """A running H2O with the data in it: frames to train on and to validate with.

    Its network takes one row a step, which a peer with batches doesn't: only the epochs are the same.
    """

    thermometer_frames: tuple[Any, Any]
    digits_frames: tuple[Any, Any]

    def thermometer(self, epochs: int) -> None:
        """13 tanh units, plain gradient descent."""
        arguments = {"hidden": [13], "activation": "Tanh", "adaptive_rate": False, "rate": 1e-3}
        _fit(self.thermometer_frames, epochs, arguments)

    def digits(self, epochs: int) -> None:
        """64-128-10, with H2O's adaptive rate."""
        _fit(self.digits_frames, epochs, {"hidden": [128], "activation": "Rectifier"})


def _fit(frames: tuple[Any, Any], epochs: int, arguments: Mapping[str, Any]) -> None:
    training, validation = frames
    model = H2ODeepLearningEstimator(epochs=epochs, seed=0, standardize=False, stopping_rounds=0, **arguments)
    model.train(y="target", training_frame=training, validation_frame=validation)


@contextmanager
def h2o_cluster() -> Iterator[Cluster]:
    """An H2O server on this machine, one thread, for as long as this lasts."""
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
    """The last rows validate."""
    rows = frame.nrows - int(VALIDATION * frame.nrows)
    return frame[:rows, :], frame[rows:, :]
