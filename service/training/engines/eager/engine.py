"""The eager engine: the chapter's loop, step by step, as a plain PyTorch script would run it."""

import math
from collections.abc import Callable, Container, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from service.datasets.prepare.prefetch import Gatherer, Slices
from service.datasets.samples import Samples
from service.history import LEARNING_RATE, HistoryChunk, history_columns
from service.specs.job import StopReason
from service.training.checkpoints import (
    Checkpoint,
    PartialEpoch,
    Snapshot,
    Tensors,
    restore_optimizer,
    snapshot,
)
from service.training.components import Components
from service.training.device_placement import placed
from service.training.engines.eager.cuda_graphs import LEAST_STEPS, Capture, CapturedStep, capture_step
from service.training.engines.eager.forward_backward import Passes
from service.training.evaluation import EVALUATION_BYTES, Evaluation, Losses, rows_at_once
from service.training.metrics import computed, metric_inputs, metric_states, restore_metrics
from service.training.schedulers import is_per_batch

_NOTHING = Evaluation(math.nan, {})


@dataclass
class _Validation:
    """A validation that is under way. A checkpoint lets it begin anew: it holds the state before.

    Attributes:
        slices: those to come.
        rng: the generators' states before.
        buffers: the model's before.
        losses: of the slices that are done.
        loss: of the step that it is in the middle of; None where it comes after the step.
    """

    slices: Iterator[Samples]
    rng: Tensors
    buffers: Tensors
    losses: Losses = field(default_factory=Losses)
    loss: Tensor | None = None


class EagerEngine:
    """Runs a training a number of steps at a time.

    With `batch_size: null`, an epoch is one step on all samples, and both its losses are those of the
    parameters before the step. With batches, each epoch's order is one `torch.randperm` from the global
    generator, and the validation loss is that of the parameters after the epoch's last step.

    A validation in several slices takes a step for each: a long one can be broken off, too.

    Args:
        evaluation_bytes: rows of so many are evaluated at once.
        capture: makes CUDA graphs of the steps on full batches, see `captured`; None: they are not.

    Attributes:
        epoch: epochs completed.
        stop_reason: set when there is nothing left to do.
    """

    compile_seconds = 0.0

    def __init__(
        self, components: Components, evaluation_bytes: int = EVALUATION_BYTES, capture: Capture | None = None
    ) -> None:
        self.components = components
        self._evaluation_bytes = evaluation_bytes
        self._passes = Passes(
            components.model, components.loss_fn, components.precision, components.spec.gradient_clip_norm
        )
        self._captured: CapturedStep | None = None
        self._replayed: CapturedStep | None = None  # the same, where it takes the step at hand
        self._has_stepped = False
        self.epoch = 0
        self.stop_reason: StopReason | None = None
        self._batches = components.batches
        worth_it = components.spec.epochs * self._batches.steps_per_epoch >= LEAST_STEPS
        self._capture = capture if worth_it else None
        self._gatherer = (
            None if components.train.order is None else Gatherer(components.train, components.device)
        )
        self._slices = None if components.validation is None else self._sliced(components.validation)
        slices = 0 if self._slices is None else len(self._slices)
        self.steps_per_epoch = self._batches.steps_per_epoch + (slices if slices > 1 else 0)
        self._validation: _Validation | None = None
        self._validation_metrics = deepcopy(components.metrics)
        self._step = 0
        self._order: Tensor | None = None
        self._losses = Losses()
        self._learning_rate = 0.0
        self._parameters = dict(components.model.named_parameters())
        # Training changes these tensors in place: they are the model's for as long as it lives.
        self._state: Tensors = dict(components.model.state_dict())
        self._attributes = [vars(module) for module in components.model.modules()]
        self._best: Snapshot | None = None
        self._per_batch_scheduler = is_per_batch(components.spec.scheduler)
        self.columns = history_columns(components.metrics)
        components.model.train()

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` optimizer steps, or one slice of a validation in several.

        Returns:
            The epochs that ended in them; None when none did.
        """
        first_epoch = self.epoch + 1
        rows = []
        for _ in range(steps):
            validates = self._step >= self._batches.steps_per_epoch
            row = self._advance_one()
            if row is not None:
                rows.append(row)
            # A slice takes longer than a step, for all that is known: none comes behind another step.
            if self.stop_reason or validates or self._step >= self._batches.steps_per_epoch:
                break
        if not rows:
            return None
        values = np.array(rows, dtype=np.float64).T
        return HistoryChunk(first_epoch, self.columns, np.where(np.isfinite(values), values, np.nan))

    def _advance_one(self) -> list[float] | None:
        """One step; the epoch's values when it was the epoch's last."""
        if self._step >= self._batches.steps_per_epoch:
            return self._validate_a_slice()
        components = self.components
        if self._batches.is_full_batch and self.steps_per_epoch > 1:
            self._validation = self._begun_validation()
        is_full = self._step < self._batches.whole
        self._replayed = self._captured if is_full else None
        batch = self._next_batch()
        if self._capture is not None and self._has_stepped and is_full:
            like = batch if self._batches.is_full_batch else batch.clone()
            self._captured = capture_step(self._passes, components.optimizer, like, self._capture)
            self._replayed = self._captured
            self._capture = None  # once is enough, also where it was in vain
        loss = self._forward(batch)
        self._losses.add(loss.detach(), batch.rows)
        self._learning_rate = components.optimizer.param_groups[0]["lr"]
        self._step += 1
        if not self._batches.is_full_batch:
            self._update(loss)
        if self._step == self.steps_per_epoch:
            return self._end_epoch(_NOTHING if self._slices is None else self._evaluate(self._slices), loss)
        if self._validation is not None:
            self._validation.loss = loss
        return None

    def _validate_a_slice(self) -> list[float] | None:
        """A step of a validation in several slices; the epoch's values after the last one."""
        validation = self._validation = self._validation or self._begun_validation()
        self._add_slice(next(validation.slices), validation.losses)
        self._step += 1
        if self._step < self.steps_per_epoch:
            return None
        self._validation = None
        return self._end_epoch(self._evaluation(validation.losses, self._validation_metrics), validation.loss)

    def _begun_validation(self) -> _Validation:
        assert self._slices is not None
        buffers = {name: buffer.clone() for name, buffer in self.components.model.named_buffers()}
        return _Validation(iter(self._slices), self._rng(), buffers)

    def _next_batch(self) -> Samples:
        if self._step == 0 and self.components.spec.shuffle and not self._batches.is_full_batch:
            self._order = self._at_hand(torch.randperm(self.components.train.rows))
        if self._gatherer is not None:
            is_last = self._step + 1 == self._batches.steps_per_epoch
            following = None if is_last else self._rows_of(self._step + 1)
            return self._gatherer.take(self._rows_of(self._step), following)
        if self._batches.is_full_batch:
            return self.components.train
        into = None if self._replayed is None else self._replayed.batch
        return self.components.train.take(self._rows_of(self._step), into)

    def _at_hand(self, order: Tensor) -> Tensor:
        """An order of samples where they are taken from: rows to gather are not on the device."""
        return order if self._gatherer is not None else order.to(self.components.device)

    def _rows_of(self, step: int) -> slice | Tensor:
        """Which rows are the batch of a step of this epoch."""
        start = step * self._batches.size
        end = min(start + self._batches.size, self.components.train.rows)
        return slice(start, end) if self._order is None else self._order[start:end]

    def _forward(self, batch: Samples) -> Tensor:
        """The loss of a training batch; the metrics take it in."""
        metrics = self.components.metrics
        if self._replayed is None:
            loss, outputs = self._passes.forward(batch)
            self._measure(outputs, batch.targets, metrics)
            return loss
        loss = self._replayed.forward(batch)
        if metrics:  # some keep what they are given
            self._measure(self._replayed.outputs.clone(), batch.targets.clone(), metrics)
        return loss

    def _measure(self, outputs: Tensor, targets: Tensor, metrics: Mapping[str, Metric]) -> None:
        """Let metrics take in a batch."""
        for metric in metrics.values():
            metric.update(*metric_inputs(self.components.loss, self.components.task, outputs, targets))

    def _update(self, loss: Tensor) -> None:
        """Backward and one optimizer step."""
        components = self.components
        if self._replayed is not None:
            self._replayed.step()
        else:
            self._passes.backward(loss)
            components.optimizer.step()
        self._has_stepped = True
        if components.scheduler is not None and self._per_batch_scheduler:
            components.scheduler.step()

    def _epoch_values(self, validation: Evaluation) -> list[float]:
        """The values of the epoch that ends, in the order of `columns`; follows the best, sees divergence."""
        components = self.components
        train = self._evaluation(self._losses, components.metrics)
        self._losses = Losses()
        values = {
            "train_loss": train.loss,
            "validation_loss": validation.loss,
            LEARNING_RATE: self._learning_rate,
        }
        for name, value in train.metrics.items():
            values[f"train_{name}"] = value
            values[f"validation_{name}"] = validation.metrics.get(name, math.nan)
        losses = [train.loss] if self._slices is None else [train.loss, validation.loss]
        if not all(map(math.isfinite, losses)):
            self.stop_reason = StopReason.DIVERGED
            self.epoch += 1
        elif components.monitor is not None and components.monitor.improves(self.epoch + 1, values):
            self._keep_best()
        return [values[name] for name in self.columns]

    def _end_epoch(self, validation: Evaluation, loss: Tensor | None) -> list[float]:
        """The epoch's values, once it is counted and it is decided whether it was the last.

        Args:
            loss: with `batch_size: null`, the step's, which is to be taken now.
        """
        components = self.components
        row = self._epoch_values(validation)
        if self.stop_reason is StopReason.DIVERGED:
            return row
        if self._batches.is_full_batch and loss is not None:
            self._update(loss)
        if components.scheduler is not None and not self._per_batch_scheduler:
            if isinstance(components.scheduler, ReduceLROnPlateau):
                watched = "validation_loss" if components.validation is not None else "train_loss"
                components.scheduler.step(row[self.columns.index(watched)])
            else:
                components.scheduler.step()
        self._step = 0
        self.epoch += 1
        self.stop_reason = self._reason_to_stop()
        return row

    def _reason_to_stop(self) -> StopReason | None:
        monitor = self.components.monitor
        if monitor is not None and monitor.stops:
            return StopReason.EARLY_STOPPING
        return StopReason.COMPLETED if self.epoch >= self.components.spec.epochs else None

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """The loss and metrics of the parameters as they are, in eval mode, without gradients.

        Args:
            samples: on any device.
            on_slice: called after each slice of them; what it raises ends the evaluation.
        """
        for metric in self._validation_metrics.values():
            metric.reset()  # a validation may have been broken off
        return self._evaluate(
            self._sliced(placed(samples, self.components.loss, self.components.device)), on_slice
        )

    def _sliced(self, samples: Samples) -> Slices:
        row_bytes = sum(x[:1].nbytes for x in samples.inputs)
        size = rows_at_once(row_bytes, self._batches.size, self._evaluation_bytes)
        return Slices(samples, size, self.components.device)

    def _evaluate(self, slices: Slices, on_slice: Callable[[], None] | None = None) -> Evaluation:
        losses = Losses()
        for batch in slices:
            self._add_slice(batch, losses)
            if on_slice is not None:
                on_slice()
        return self._evaluation(losses, self._validation_metrics)

    def _add_slice(self, batch: Samples, losses: Losses) -> None:
        self._set_training(False)
        with torch.no_grad():  # a small step's inference_mode takes longer
            loss, outputs = self._passes.forward(batch)
            self._measure(outputs, batch.targets, self._validation_metrics)
            losses.add(loss, batch.rows)
        self._set_training(True)

    def _evaluation(self, losses: Losses, metrics: Mapping[str, Metric]) -> Evaluation:
        """The losses' mean, and what the metrics have taken in; they start anew."""
        return Evaluation(losses.mean(), {name: computed(metric) for name, metric in metrics.items()})

    def _set_training(self, training: bool) -> None:
        """`model.train(training)` without its walk through the modules, which takes as long as a layer."""
        for attributes in self._attributes:
            attributes["training"] = training

    def _keep_best(self) -> None:
        """Copy the model into the best snapshot, in place after the first time.

        Gradients need no copy, unless they are captured: the next step makes new ones.
        """
        if self._best is None:
            kept = {name: tensor.detach().clone() for name, tensor in self._state.items()}
        else:
            kept = self._best.state
            torch._foreach_copy_([*kept.values()], [*self._state.values()])
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        if self._captured is not None:
            gradients = {name: gradient.clone() for name, gradient in gradients.items()}
        self._best = Snapshot(self.epoch + 1, kept, gradients)

    def checkpoint(self) -> Checkpoint:
        """The state now, also in the middle of an epoch."""
        components, validation = self.components, self._validation
        last = snapshot(components.model, self.epoch)
        if validation is not None:
            last = replace(last, state={**last.state, **_known(validation.buffers, last.state)})
        return Checkpoint(
            last=last,
            partial=self._partial() if self._step and not self._batches.is_full_batch else None,
            best=self._best,
            optimizer=components.optimizer.state_dict(),
            scheduler=None if components.scheduler is None else components.scheduler.state_dict(),
            rng=self._rng() if validation is None else validation.rng,
            monitor=components.monitor.state() if components.monitor else {},
        )

    def _rng(self) -> Tensors:
        """The states of the generators."""
        states = {"cpu": torch.get_rng_state()}
        if self.components.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.components.device)
        return states

    def _partial(self) -> PartialEpoch:
        metrics = metric_states(self.components.metrics)
        step = min(self._step, self._batches.steps_per_epoch)  # a validation begins anew
        return PartialEpoch(step, self._losses.summed(), self._order, metrics, self._learning_rate)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint as if there had been no break; or begin with its parameters."""
        components = self.components
        components.model.load_state_dict(checkpoint.last.state)
        if checkpoint.optimizer is None:
            return
        self.epoch = checkpoint.last.epoch
        if checkpoint.partial is not None:
            self._restore_partial(checkpoint.partial)
        for name, parameter in components.model.named_parameters():
            gradient = checkpoint.last.gradients.get(name)
            parameter.grad = None if gradient is None else gradient.to(components.device)
        restore_optimizer(components.optimizer, checkpoint.optimizer)
        if components.scheduler is not None and checkpoint.scheduler is not None:
            components.scheduler.load_state_dict(dict(checkpoint.scheduler))  # CyclicLR takes entries out
        if components.monitor is not None:
            components.monitor.restore(checkpoint.monitor)
        self.stop_reason = self._reason_to_stop()
        self._best = None if checkpoint.best is None else self._own(checkpoint.best)
        torch.set_rng_state(checkpoint.rng["cpu"])
        if "cuda" in checkpoint.rng:
            torch.cuda.set_rng_state(checkpoint.rng["cuda"], components.device)

    def _restore_partial(self, partial: PartialEpoch) -> None:
        self._step = partial.step
        rows = min(partial.step * self._batches.size, self.components.train.rows)
        self._losses = Losses(partial.loss_sum, rows)
        self._order = None if partial.order is None else self._at_hand(partial.order)
        self._learning_rate = partial.learning_rate
        restore_metrics(self.components.metrics, partial.metrics)

    def _own(self, best: Snapshot) -> Snapshot:
        """A snapshot from a file as the engine keeps one: copied, in the model's order, on its device."""
        return Snapshot(
            best.epoch,
            {name: torch.empty_like(own).copy_(best.state[name]) for name, own in self._state.items()},
            {name: gradient.to(self.components.device) for name, gradient in best.gradients.items()},
        )

    @property
    def steps_left(self) -> int:
        """Steps to the end of the epoch at hand; a whole epoch's between epochs."""
        return self.steps_per_epoch - self._step

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch, when one is followed."""
        return self._best

    def load_best(self) -> None:
        """Put the best epoch's parameters into the model."""
        if self._best is not None:
            self.components.model.load_state_dict(self._best.state)


def _known(some: Tensors, names: Container[str]) -> Tensors:
    return {name: tensor for name, tensor in some.items() if name in names}
