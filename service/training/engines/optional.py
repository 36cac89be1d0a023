"""The optional packages of the compiled engine: detection and the only import."""

from importlib.util import find_spec

from service.training.engines.base import CompiledSupport

# Installed by `jax[cuda12]` and `jax[cuda13]`.
GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def runs_jax(device_type: str) -> bool:
    """Return whether JAX is installed for a type of device, `cpu` or `cuda`."""
    return find_spec("jax") is not None and (device_type == "cpu" or any(map(find_spec, GPU_PLUGINS)))


def compiled_support() -> CompiledSupport | None:
    """Import the compiled engine; return None if JAX is not installed."""
    if not runs_jax("cpu"):
        return None
    from service.training.engines.compiled.support import Support  # noqa: PLC0415 (JAX is an extra)

    return Support()


def preload() -> None:
    """Import the compiled engine, if it is installed, and trace a forward pass.

    It starts no thread and no JAX backend, so that a process may fork afterwards.
    """
    if (support := compiled_support()) is not None:
        support.trace_forward()
