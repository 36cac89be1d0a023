"""The costs of the engines by kind of device, and the estimate of a training's time that they give."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.training.engines.candidate import Candidate, Work

Seconds = Mapping[str, float]  # by the name of a quantity, for one of it; others cost nothing

# Elements of parameters with which the state of a group of 64 fits into a cache of 32 MiB.
_CACHED_UPDATES = 2**15
# Part of a step on as many rows that a validation takes, which has no backward pass.
_FORWARD = 1 / 3


def step_quantities(candidate: Candidate, work: Work) -> dict[str, float]:
    """Return the quantities by which a step costs time, the step's part of its epoch included.

    Args:
        candidate: The training.
        work: The work of its step on a whole batch.

    Returns:
        Numbers by name: those of `Work`, and

        - `step`: 1;
        - `epoch`: the part of an epoch that a step is;
        - `tensors`: parameter tensors, which the optimizer updates one by one;
        - `updates`: their elements;
        - `uncached`: those of them that a group of 64 reads from memory in each step;
        - `measured`: metrics;
        - `rounded_products`: the `products` in bfloat16, for which PyTorch has instructions of the processor.
    """
    key, steps = candidate.key, candidate.key.batches.steps_per_epoch
    rows = key.batches.rows
    validated = 0 if key.validation is None else _FORWARD * key.validation[0][0][0]
    # A short last batch and the validation have a part of the arithmetic, and operators of their own.
    arithmetic = (rows + validated) / (steps * key.batches.size)
    passes = 1 + (_FORWARD / steps if validated else 0)
    products, is_rounded = work.products * arithmetic, key.precision == "bfloat16"
    parameters = [*candidate.model.parameters()]
    updates = sum(each.numel() for each in parameters)
    return {
        "step": 1,
        "epoch": 1 / steps,
        "operators": work.operators * passes,
        "nodes": work.nodes * passes,
        "tensors": len(parameters),
        "updates": updates,
        "uncached": max(0, updates - _CACHED_UPDATES),
        "measured": len(candidate.spec.metrics),
        "products": 0 if is_rounded else products,
        "rounded_products": products if is_rounded else 0,
        "convolution_calls": work.convolution_calls * passes,
        "convolutions": work.convolutions * arithmetic,
        "patches": work.patches * arithmetic,
        "unshifted": work.unshifted * arithmetic,
        "elements": work.elements * arithmetic,
        "functions": work.functions * arithmetic,
        "sines": work.sines * arithmetic,
        "time_steps": work.time_steps * passes,
        "recurrent_products": work.recurrent_products * arithmetic,
        "gates": work.gates * arithmetic,
        "drawn": work.drawn,
    }


def program_quantities(candidate: Candidate, work: Work) -> dict[str, float]:
    """Return the quantities by which tracing and compiling a program costs time.

    Returns:
        Numbers by name:

        - `program`: 1;
        - `nodes`: operators of all traced passes;
        - `convolution_nodes`: those that are convolutions;
        - `recurrent`: 1 if there are recurrent layers.
    """
    # A short last batch has a graph of its own, and the validation one without a backward pass.
    traces = 1 + (candidate.key.batches.remainder > 0) + _FORWARD * (candidate.key.validation is not None)
    return {
        "program": 1,
        "nodes": work.nodes * traces,
        "convolution_nodes": work.convolution_calls * traces,
        "recurrent": work.time_steps > 0,
    }


@dataclass(frozen=True)
class Estimate:
    """Estimated seconds of a training.

    Attributes:
        steps: Its optimizer steps.
        eager: A step by the eager engine.
        alone: A step by the compiled engine.
        grouped: The same in a group of 64, for one of them.
        compiling: Tracing and compiling its program, once.
    """

    steps: int
    eager: float
    alone: float
    grouped: float
    compiling: float

    def document(self) -> dict[str, float]:
        """Return the estimate as jobs show it, in seconds of the whole training."""
        return {
            "eager_seconds": _rounded(self.steps * self.eager),
            "compiled_seconds": _rounded(self.steps * self.alone),
            "grouped_seconds": _rounded(self.steps * self.grouped),
            "compile_seconds": _rounded(self.compiling),
        }


@dataclass(frozen=True)
class Costs:
    """Costs of a training on a kind of device.

    Attributes:
        eager: Of a step of the eager engine, by `step_quantities`.
        alone: Of a step of the compiled engine.
        grouped: The same for one of a group of 64.
        compiling: Of a program, by `program_quantities`.
    """

    eager: Seconds
    alone: Seconds
    grouped: Seconds
    compiling: Seconds

    def estimate(self, candidate: Candidate, work: Work) -> Estimate:
        """Estimate the time of a training."""
        step = step_quantities(candidate, work)
        return Estimate(
            candidate.steps,
            eager=_total(self.eager, step),
            alone=_total(self.alone, step),
            grouped=_total(self.grouped, step),
            compiling=_total(self.compiling, program_quantities(candidate, work)),
        )


def _rounded(seconds: float) -> float:
    """Round to two digits: an estimate is no more precise."""
    return float(f"{seconds:.2g}")


def _total(costs: Seconds, quantities: Mapping[str, float]) -> float:
    return sum(seconds * quantities[name] for name, seconds in costs.items())


# Fitted by non-negative least squares, as `benchmarks.fit_costs` does, to the times of 48 trainings on one
# core; compiling, for which XLA has threads, on two cores. The typical error of a step of ten other trainings
# is 1.4× for the eager engine, and 1.2× for the compiled one, alone and in groups. PyTorch spends time on
# each operator, most on convolutions, and XLA hardly any. XLA copies the inputs of convolutions to patches,
# and is slow for large kernels, sines and the functions of recurrences; a group reads the state of large
# models from memory. Products in bfloat16 were measured on two perceptrons.
CPU = Costs(
    eager={
        "step": 1.3e-5,
        "operators": 6.2e-6,
        "measured": 490e-6,
        "convolution_calls": 150e-6,
        "updates": 2e-9,
        "products": 12e-12,
        "rounded_products": 4.5e-12,
        "convolutions": 5.2e-12,
        "patches": 0.44e-9,
        "recurrent_products": 20e-12,
        "elements": 0.23e-9,
        "functions": 1.6e-9,
        "sines": 1.5e-9,
        "drawn": 2.7e-9,
    },
    alone={
        "step": 0.29e-6,
        "nodes": 52e-9,
        "time_steps": 2.9e-6,
        "updates": 1.1e-9,
        "products": 12e-12,
        "rounded_products": 12e-12,
        "patches": 0.89e-9,
        "unshifted": 180e-12,
        "recurrent_products": 0.91e-12,
        "gates": 5.8e-9,
        "elements": 0.19e-9,
        "functions": 0.27e-9,
        "sines": 7e-9,
        "drawn": 5.4e-9,
    },
    grouped={
        "nodes": 9e-9,
        "time_steps": 3.2e-6,
        "updates": 3.1e-9,
        "uncached": 3.2e-9,
        "products": 8.3e-12,
        "rounded_products": 8.3e-12,
        "patches": 1.5e-9,
        "unshifted": 180e-12,
        "gates": 10e-9,
        "elements": 0.36e-9,
        "sines": 7.3e-9,
        "drawn": 4.2e-9,
    },
    compiling={"program": 0.059, "nodes": 6.5e-3, "convolution_nodes": 74e-3, "recurrent": 0.54},
)

# Measured on an H100 by matrix products, before groups and other quantities were told apart: CUDA graphs
# replay the steps of the eager engine, and a group is taken to cost what one training costs.
_H100_PROGRAM = {
    "nodes": 0.9e-6,
    "time_steps": 60e-6,
    **dict.fromkeys(("products", "convolutions", "recurrent_products"), 1 / 30e12),
}
GPU = Costs(
    eager={
        "step": 70e-6,
        "epoch": 270e-6,
        "operators": 2e-6,
        "tensors": 1e-6,
        **dict.fromkeys(("products", "convolutions", "recurrent_products"), 1 / 40e12),
    },
    alone=_H100_PROGRAM,
    grouped=_H100_PROGRAM,
    compiling={"program": 0.7, "nodes": 0.05},
)
