"""Keep long-lived objects out of garbage collection (`gc.freeze`)."""

import gc


def pause_collection() -> None:
    """Disable the garbage collector until `freeze_loaded_objects` is called.

    Call it before importing large libraries. Almost nothing becomes garbage during an import, but repeated
    collections of all that is loaded already would take a fifth of its time.
    """
    gc.disable()


def freeze_loaded_objects() -> None:
    """Exempt all current objects from garbage collection, and enable it for later ones.

    A full collection traverses every object: with PyTorch and JAX loaded, half a million objects and half a
    second, in the middle of some job.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
