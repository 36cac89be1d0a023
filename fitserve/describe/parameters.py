"""Values of the parameters and buffers of a module, as `POST /v1/parameters` accepts them."""

from torch import nn

from fitserve.describe.errors import NotDescribable
from fitserve.describe.layer_specs import is_torch_layer


def parameters(module: nn.Module) -> bytes:
    """Return the values of a module as a file for `POST /v1/parameters`.

    A job with the spec `describe(module)` and with this file as `initial_parameters` starts where the module
    is.

    Args:
        module: The described module.

    Returns:
        The `state_dict()` as safetensors. The names are those of the service's model: a single layer, which
        `describe` puts into a `sequential`, has the prefix `0.`.

    Raises:
        ImportError: If safetensors is not installed.
        NotDescribable: If the module has no parameters or buffers, or a state that is no tensor.
    """
    try:
        from safetensors.torch import save  # noqa: PLC0415 - an extra that may be absent
    except ModuleNotFoundError as error:
        raise ImportError(
            "fitserve.describe.parameters needs safetensors; install it with `pip install safetensors`."
        ) from error
    prefix = "0." if is_torch_layer(module) else ""
    # safetensors refuses tensors that share memory, such as tied ones.
    state = {f"{prefix}{name}": value for name, value in module.state_dict().items()}
    for name, value in state.items():
        if not hasattr(value, "contiguous"):
            raise NotDescribable(f"`{name}` in the state of the module is no tensor.")
    if not state:
        raise NotDescribable("The module has no parameters or buffers, so there are no values to send.")
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})
