"""The garbage collector, kept from what stays."""

import gc


def settle() -> None:
    """Keep all that is loaded now for good, out of the collector's sight.

    A full collection looks through every object. With PyTorch and JAX loaded that is half a million of them,
    and half a second in the middle of some job.
    """
    gc.collect()
    gc.freeze()
