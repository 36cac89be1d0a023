"""Describe a PyTorch module as a spec that Fitserve accepts.

    from fitserve.describe import describe

    spec = describe(model)

PyTorch must be installed; a running service is not needed.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("fitserve.describe needs PyTorch; install it with `pip install torch`.") from None

from fitserve.describe.errors import NotDescribable
from fitserve.describe.parameters import parameters
from fitserve.describe.spec import InitialValuesWarning, describe

__all__ = ["InitialValuesWarning", "NotDescribable", "describe", "parameters"]
