"""The check of a training in several processes."""

from collections.abc import Sequence

from torch import nn

from service.datasets.validation import count_of
from service.preflight.fit import ValidSections
from service.preflight.value_checks import step_error
from service.specs.job import Parallel, Placement
from service.training.findings import Findings
from service.training.losses import LOSSES

EAGER = "Jobs that train in several processes run with the eager engine."
_BATCH_STATISTICS = (nn.modules.batchnorm._BatchNorm,)


def check_parallel(
    placement: Placement,
    parallel: Parallel,
    device: str,
    devices: Sequence[str],
    cpu_workers: int,
    sections: ValidSections,
) -> Findings:
    """Check that several processes can share the batches of a training.

    Args:
        placement: Device and engine of the request.
        parallel: The processes.
        device: The chosen queue.
        devices: The devices of the live workers.
        cpu_workers: Number of CPU workers that this service starts.
        sections: The other sections.
    """
    found, processes, fewest = Findings(), parallel.processes, parallel.fewest
    if fewest > processes:
        found.add_error("#/parallel/min_processes", f"It is larger than `processes`, {processes}.")
    if placement.engine == "compiled":
        found.add_error("#/engine", f"{EAGER} Use the engine `eager` or `auto`, or remove `parallel`.")
    if placement.device.startswith("cuda:"):
        found.add_error("#/device", "It is a single GPU; request `cuda`, or remove `parallel`.")
    # Workers that are starting count too.
    workers = max(sum(own.split(":")[0] == device for own in devices), cpu_workers if device == "cpu" else 0)
    if workers and fewest > workers:
        field = "processes" if parallel.min_processes is None else "min_processes"
        detail = (
            f"Each process needs a worker of its own, and {workers} serve `{device}`. Use at most {workers}, "
            "or start more workers (`FITSERVE_WORKERS`)."
        )
        found.add_error(f"#/parallel/{field}", detail)
    size = sections.batches.size
    if size < processes:
        detail = (
            f"A batch has {count_of(size, 'row')}, fewer than the {processes} processes that share it. Use a "
            "larger `batch_size`, or fewer processes."
        )
        found.add_error("#/training/batch_size", detail)
    else:
        _check_single_rows(processes, sections, found)
    _check_model(sections, found)
    return found


def _check_single_rows(processes: int, sections: ValidSections, found: Findings) -> None:
    """Find a model that can't be trained on one row, if that is all that a process gets of a batch."""
    batches, module = sections.batches, sections.checked.module
    fewest = min(size // processes for size in (batches.size, batches.remainder or batches.size))
    if fewest <= 1 and (reason := step_error(module, sections.prepared, 1)):
        detail = (
            f"Of some batches, a process gets a single row, on which the model can't be trained: {reason}. "
            "Use another `batch_size`, `drop_last`, or fewer processes."
        )
        found.add_error("#/training/batch_size", detail)


def _check_model(sections: ValidSections, found: Findings) -> None:
    """Find what does not give the results of a single process."""
    name = sections.training.loss.type
    loss = LOSSES[name]
    if not loss.by_row:
        detail = (
            f"`{name}` compares the rows of a batch, which several processes cannot share. Remove `parallel`."
        )
        found.add_error("#/parallel", detail)
    elif loss.is_expression:
        detail = (
            "Each process computes the loss of its own rows, and the mean over the processes is minimized: "
            "that is the loss of the whole batch if it is a mean over rows."
        )
        found.add_warning("#/training/loss", detail)
    if any(isinstance(module, _BATCH_STATISTICS) for module in sections.checked.module.modules()):
        detail = (
            "Each process normalizes by the mean and variance of its own rows of a batch; the running "
            "statistics are those of the first process. Results differ from those of a single process."
        )
        found.add_warning("#/parallel", detail)
