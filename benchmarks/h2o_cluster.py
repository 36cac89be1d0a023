"""The same fits in H2O-3 over its REST API; needs Java and the extra `peers`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import h2o
from h2o.estimators import H2ODeepLearningEstimator

from benchmarks.plain import digits_data
from service.demo import T_C, T_U

VALIDATION = 0.2
MEMORY = "4G"


def _fit(frames: tuple[Any, Any], arguments: Mapping[str, Any], epochs: int) -> None:
    training, validation = frames
    model = H2ODeepLearningEstimator(epochs=epochs, seed=0, standardize=False, stopping_rounds=0, **arguments)
    model.train(y="target", training_frame=training, validation_frame=validation)


@contextmanager
def h2o_cluster() -> Iterator[Mapping[str, Callable[[int], None]]]:
    """Run an H2O server with one thread on this machine.

    H2O takes one step per row, so that only the number of epochs is comparable with systems that use batches.

    Yields:
        By data set, a function that fits a number of epochs: 13 tanh units by gradient descent on the
        thermometer data, a 64-128-10 network with H2O's adaptive learning rate on the digits.
    """
    h2o.init(nthreads=1, max_mem_size=MEMORY, bind_to_localhost=True, verbose=False)
    h2o.no_progress()
    try:
        inputs, targets = digits_data()
        digits = h2o.H2OFrame([[*row, target] for row, target in zip(inputs, targets, strict=True)])
        digits.columns = [*(f"x{index}" for index in range(len(inputs[0]))), "target"]
        digits["target"] = digits["target"].asfactor()
        thermometer = h2o.H2OFrame({"t_u": [0.1 * value for value in T_U], "target": T_C})
        tanh_units = {"hidden": [13], "activation": "Tanh", "adaptive_rate": False, "rate": 1e-3}
        rectifiers = {"hidden": [128], "activation": "Rectifier"}
        yield {
            "thermometer": partial(_fit, _split(thermometer), tanh_units),
            "digits": partial(_fit, _split(digits), rectifiers),
        }
    finally:
        h2o.cluster().shutdown()


def _split(frame: Any) -> tuple[Any, Any]:
    """Return the first rows for training and the last rows for validation."""
    rows = frame.nrows - int(VALIDATION * frame.nrows)
    return frame[:rows, :], frame[rows:, :]
