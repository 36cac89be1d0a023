"""Forward passes of pasted classes, compared with the same texts run as Python.

python -m benchmarks.classes
"""

import statistics
import time

import torch
from torch import Tensor, nn

from benchmarks.results import publish, table, verdict
from service.architectures.build import build
from service.specs.architecture import read_architecture
from tests.classes.cases import CASES, Case
from tests.classes.plain import run_as_python

NAMES = "mnist_mlp", "mlp_flexible", "resnet", "mini_gpt", "vit", "lstm_lm"
ROUNDS, PASSES = 60, 10
MAX_RATIO = 1.15


def main() -> None:
    """Run the benchmark and write its section of results.md."""
    torch.set_num_threads(1)  # as in the service's workers
    lines = [["class", "pass", "pasted, ms", "Python, ms", f"ratio (goal: at most {MAX_RATIO})"]]
    for case in CASES:
        if case.name in NAMES:
            lines += [measure(case, training) for training in (True, False)]
    publish("Forward passes of pasted classes", table(lines), "bench-all")


def measure(case: Case, training: bool) -> list[str]:
    """Return a row: the medians of processor time of interleaved rounds of passes."""
    models = [build(read_architecture(case.spec)), run_as_python(case)]
    inputs = case.tensors()
    times: list[list[float]] = [[], []]
    with torch.set_grad_enabled(training):
        for _ in range(ROUNDS):
            for model, seconds in zip(models, times, strict=True):
                seconds.append(timed(model.train(training), inputs))
    pasted, python = map(statistics.median, times)
    ratio = pasted / python
    mode = "training" if training else "prediction"
    shown = f"{ratio:.2f}, {verdict(ratio <= MAX_RATIO)}"
    return [case.name, mode, f"{pasted * 1000:.3f}", f"{python * 1000:.3f}", shown]


def timed(model: nn.Module, inputs: list[Tensor]) -> float:
    """Return the processor time of a pass in seconds."""
    start = time.process_time()
    for _ in range(PASSES):
        model(*inputs)
    return (time.process_time() - start) / PASSES


if __name__ == "__main__":
    main()
