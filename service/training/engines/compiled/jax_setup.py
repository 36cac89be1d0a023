"""Configuration of JAX, set once in a process before its first program."""

import os
from pathlib import Path

import jax
import torch

# PyTorch uses the same GPU: JAX must allocate memory on demand instead of most of it at once.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_CONFIG = {
    "jax_enable_x64": True,  # PyTorch's integers have 64 bits, and losses are added up in double precision
    "jax_default_matmul_precision": "highest",  # a GPU would round inputs to TensorFloat-32
    "jax_compilation_cache_max_size": 2**30,  # bytes; the least recently used is evicted
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}
# Disable fusion into the YNNPACK library: matrix products of small models are faster in XLA's own code (a
# step of a model with 13 hidden units takes 2 µs instead of 5).
_XLA_FLAGS = "--xla_cpu_experimental_ynn_fusion_type="
# Unroll products of small matrices in tiles of 8 rows and 2 terms instead of 11 and 9: the same bits and
# speed in less code, so that programs compile in up to 30 % less time. The third number is the default.
_TILES = "--xla_backend_extra_options=xla_llvm_ir_gemm_tile_size=8:2:1*vectwidth"
# Round each result to bfloat16 where PyTorch does; by default XLA keeps single precision between operators.
_ROUNDING = "--xla_allow_excess_precision=false"
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def set_up(device: torch.device, threads: int, cache_dir: Path | None = None) -> None:
    """Configure JAX in this process. Its backend starts with the first array.

    Args:
        device: The device of all programs. By default, JAX would use every GPU of the machine.
        threads: Number of threads of a program on a CPU.
        cache_dir: Folder that keeps compiled programs for other processes; it may be deleted.
    """
    given, one_thread = os.environ.get("XLA_FLAGS", ""), _ONE_THREAD if threads == 1 else ""
    flags = [given, _XLA_FLAGS, _TILES, _ROUNDING, one_thread]
    os.environ.update(_ENVIRONMENT, XLA_FLAGS=" ".join(filter(None, flags)))
    device_config = {"jax_platforms": device.type}
    if device.index is not None:
        device_config["jax_cuda_visible_devices"] = str(device.index)
    for name, value in (_CONFIG | device_config).items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    if cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))  # type: ignore[no-untyped-call]
