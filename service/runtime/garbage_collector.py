"""The garbage collector, kept from what stays."""

import gc


def rest() -> None:
    """Collect nothing until `settle`: while a process loads its modules, next to nothing is garbage.

    The collector would look again and again through all that is loaded: a fifth of the time that takes.
    """
    gc.disable()


def settle() -> None:
    """Keep all that is loaded now for good, out of the collector's sight.

    A full collection looks through every object. With PyTorch and JAX loaded that is half a million of them,
    and half a second in the middle of some job.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
