"""The eager engine: a training loop with the operations of a plain PyTorch script.

An epoch is a sequence of steps, which `EagerEngine.advance` takes one by one (`_advance_one`):

1. The optimizer steps. With batches, each is forward pass, backward pass and update. With a full batch, the
   single step is a forward pass only: its update follows the validation, since both losses of the epoch are
   those of the parameters before the update.
2. The validation. If one slice suffices, it belongs to the last optimizer step. Otherwise each slice is a
   step of its own (`_validate_slice`), so that a long validation can be interrupted too.
3. `_end_epoch`, part of the last step, computes the epoch's values, keeps the best epoch, steps the scheduler
   and decides whether to stop.

A checkpoint can be taken after each step. It holds what the rest of the epoch depends on: the order of
samples, the sum of losses and the states of metrics. The order is drawn from the global generator at the
first step of an epoch, as in a script: dropout consumes the same generator, and the sequence of draws decides
the numbers that each one gets.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from service.datasets.prepare.encoding import IGNORED
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
from service.training.device_placement import place_samples
from service.training.engines.eager.cuda_graphs import MIN_STEPS, Capture, CapturedStep, capture_step
from service.training.engines.eager.forward_backward import Outputs, Passes
from service.training.evaluation import EVALUATION_BYTES, Evaluation, MeanLoss, rows_per_slice
from service.training.metrics import compute_and_reset, metric_states, restore_metrics
from service.training.schedulers import is_per_batch
from service.training.weighted_loss import loss_weight

NO_EVALUATION = Evaluation(math.nan, {})


@dataclass
class Validation:
    """An unfinished validation in several slices.

    A checkpoint does not contain it: a restored training starts the validation again. Therefore a checkpoint
    takes buffers and generator states from before the validation.

    Attributes:
        slices: The slices that are not evaluated yet.
        rng: Generator states before the validation.
        buffers: Buffers of the model before the validation.
        losses: Losses of the evaluated slices.
        loss: With a full batch, the training loss whose update follows the validation; None otherwise.
    """

    slices: Iterator[Samples]
    rng: Tensors
    buffers: Tensors
    losses: MeanLoss = field(default_factory=MeanLoss)
    loss: Tensor | None = None


class EagerEngine:
    """Executes one training with PyTorch.

    With `batch_size: null`, an epoch is one step on all samples, and both its losses are those of the
    parameters before the step. With batches, each epoch's order is one `torch.randperm` from the global
    generator, and the validation loss is that of the parameters after the epoch's last step.

    Args:
        components: The training's.
        evaluation_bytes: Bytes of inputs that are evaluated at once; at least one batch is.
        capture: Captures CUDA graphs of the steps on whole batches, see `cuda_graphs`; None to run without.

    Attributes:
        components: The training's.
        epoch: Epochs completed.
        stop_reason: The reason why training has ended; None while it continues.
        steps_per_epoch: Optimizer steps of an epoch, plus the slices of a validation that needs several.
        columns: Names of the history columns.
    """

    compile_seconds = 0.0

    def __init__(
        self, components: Components, evaluation_bytes: int = EVALUATION_BYTES, capture: Capture | None = None
    ) -> None:
        self.components = components
        self._evaluation_bytes = evaluation_bytes
        self._passes = Passes(
            components.model,
            components.loss_fn,
            components.roles,
            components.precision,
            components.spec.gradient_clip_norm,
        )
        self._captured: CapturedStep | None = None
        self._replayed: CapturedStep | None = None  # `_captured` if it executes the current step
        self._has_stepped = False  # a capture needs the optimizer's state, which the first step creates
        self.epoch = 0
        self.stop_reason = self._reason_to_stop()
        self._batches = components.batches
        pays = components.spec.epochs * self._batches.steps_per_epoch >= MIN_STEPS
        # Derivatives by the inputs keep parts of the forward graph that a replay would overwrite.
        self._capture = capture if pays and not self._passes.differentiates else None
        self._gatherer = (
            None if components.train.order is None else Gatherer(components.train, components.device)
        )
        self._full_batch = components.train
        self._slices = None if components.validation is None else self._sliced(components.validation)
        slices = 0 if self._slices is None else len(self._slices)
        self.steps_per_epoch = self._batches.steps_per_epoch + (slices if slices > 1 else 0)
        self._validation: Validation | None = None
        self._validation_metrics = deepcopy(components.metrics)
        self._step = 0  # steps taken of the current epoch, slices of the validation included
        self._order: Tensor | None = None  # int64 [n]; None for samples in their own order
        self._losses = MeanLoss()
        # Counting costs a kernel per step, and most trainings have no such target.
        self._ignores = components.loss.ignores and bool((components.train.targets == IGNORED).any())
        self._learning_rate = 0.0
        self._parameters = dict(components.model.named_parameters())
        # Training changes these tensors in place, so that the dictionary never needs to be made again.
        self._state: Tensors = dict(components.model.state_dict())
        self._attributes = [vars(module) for module in components.model.modules()]
        self._sets_modes = any(
            type(module).train is not nn.Module.train or type(module).eval is not nn.Module.eval
            for module in components.model.modules()
        )
        self._best: Snapshot | None = None
        self._per_batch_scheduler = is_per_batch(components.spec.scheduler)
        self.columns = history_columns(components.metrics)
        components.model.train()

    def advance(self, steps: int) -> HistoryChunk | None:
        """Take up to `steps` optimizer steps, or one slice of a validation that needs several.

        Returns:
            The epochs that ended; None if none did.
        """
        first_epoch = self.epoch + 1
        rows = []
        for _ in range(steps):
            validates = self._step >= self._batches.steps_per_epoch
            row = self._advance_one()
            if row is not None:
                rows.append(row)
            # A slice may take much longer than an optimizer step: the loop measures it separately.
            if self.stop_reason or validates or self._step >= self._batches.steps_per_epoch:
                break
        if not rows:
            return None
        values = np.array(rows, dtype=np.float64).T  # [columns, epochs]
        return HistoryChunk(first_epoch, self.columns, np.where(np.isfinite(values), values, np.nan))

    def _advance_one(self) -> list[float] | None:
        """Take one step; return the values of the epoch if it was the last one."""
        if self._step >= self._batches.steps_per_epoch:
            return self._validate_slice()
        components = self.components
        if self._batches.is_full_batch and self.steps_per_epoch > 1:
            # A restored training repeats the forward pass too: its state must be from before.
            self._validation = self._start_validation()
        is_whole = self._step < self._batches.full_batches
        self._replayed = self._captured if is_whole else None
        batch = self._next_batch()
        if self._capture is not None and self._has_stepped and is_whole:
            # Later batches overwrite the captured tensors: they must not be the samples themselves.
            captured_batch = batch if self._batches.is_full_batch else batch.clone()
            self._captured = capture_step(self._passes, components.optimizer, captured_batch, self._capture)
            self._replayed = self._captured
            self._capture = None  # do not try again, whether or not it succeeded
        loss = self._forward(batch)
        self._add_loss(loss.detach(), batch)
        self._learning_rate = components.optimizer.param_groups[0]["lr"]
        self._step += 1
        if not self._batches.is_full_batch:
            self._update(loss)
        if self._step == self.steps_per_epoch:
            validation = NO_EVALUATION if self._slices is None else self._evaluate(self._slices)
            return self._end_epoch(validation, loss)
        if self._validation is not None:
            self._validation.loss = loss
        return None

    def _validate_slice(self) -> list[float] | None:
        """Evaluate one slice of the validation; return the epoch's values after the last one."""
        validation = self._validation = self._validation or self._start_validation()
        self._evaluate_next(validation)
        self._step += 1
        if self._step < self.steps_per_epoch:
            return None
        self._validation = None
        return self._end_epoch(self._evaluation(validation.losses, self._validation_metrics), validation.loss)

    def _add_loss(self, loss: Tensor, batch: Samples) -> None:
        """Add the loss [] of a training batch to those of the epoch."""
        self._losses.add(loss, loss_weight(self.components.loss_fn, batch, self._ignores))

    def _evaluate_next(self, validation: Validation) -> None:
        """Evaluate the next slice of an unfinished validation."""
        self._add_slice(next(validation.slices), validation.losses)

    def _start_validation(self) -> Validation:
        assert self._slices is not None
        buffers = {name: buffer.clone() for name, buffer in self.components.model.named_buffers()}
        return Validation(iter(self._slices), self._rng(), buffers)

    def _next_batch(self) -> Samples:
        """Return the batch of the current step; draw the order of the epoch before its first one."""
        if self._step == 0 and self.components.spec.shuffle and not self._batches.is_full_batch:
            self._order = self._placed_order(self._draw_order())
        if self._gatherer is not None:
            # The next epoch's order is not drawn yet: nothing is read ahead across epochs.
            is_last = self._step + 1 == self._batches.steps_per_epoch
            following = None if is_last else self._rows_of(self._step + 1)
            return self._gatherer.take(self._rows_of(self._step), following)
        if self._batches.is_full_batch:
            return self._full_batch
        into = None if self._replayed is None else self._replayed.batch  # gather into the captured tensors
        return self.components.train.take(self._rows_of(self._step), into)

    def _draw_order(self) -> Tensor:
        """Return the order of an epoch's samples, int64 [n]."""
        return torch.randperm(self.components.train.rows)

    def _placed_order(self, order: Tensor) -> Tensor:
        """Move an order of samples to the device that holds them; samples to be gathered are on the CPU."""
        return order if self._gatherer is not None else order.to(self.components.device)

    def _rows_of(self, step: int) -> slice | Tensor:
        """Return the rows of the batch of a step of the current epoch."""
        start, end = self._bounds_of(step)
        return slice(start, end) if self._order is None else self._order[start:end]

    def _bounds_of(self, step: int) -> tuple[int, int]:
        """Return the positions of the first row of a step's batch in the epoch, and after the last one."""
        start = step * self._batches.size
        return start, min(start + self._batches.size, self.components.train.rows)

    def _forward(self, batch: Samples) -> Tensor:
        """Return the loss [] of a training batch, and update the metrics."""
        metrics = self.components.metrics
        if self._replayed is None:
            loss, outputs = self._passes.forward(batch)
            self._measure(outputs, batch.targets, metrics)
            return loss
        loss = self._replayed.forward(batch)
        if metrics:  # some metrics keep their arguments, which the next replay would overwrite
            outputs = {name: output.clone() for name, output in self._replayed.outputs.items()}
            self._measure(outputs, batch.targets.clone(), metrics)
        return loss

    def _measure(self, outputs: Outputs, targets: Tensor, metrics: Mapping[str, Metric]) -> None:
        """Update metrics with a batch."""
        if metrics:
            components = self.components
            components.roles.update_metrics(
                metrics, components.loss, outputs, targets, components.masks_targets
            )

    def _update(self, loss: Tensor) -> None:
        """Run the backward pass, the optimizer step and a scheduler that steps per batch."""
        components = self.components
        if self._replayed is not None:
            self._replayed.step()
        else:
            self._backward(loss)
            components.optimizer.step()
        self._has_stepped = True
        if components.scheduler is not None and self._per_batch_scheduler:
            components.scheduler.step()

    def _backward(self, loss: Tensor) -> None:
        """Replace the gradients of the parameters by those of a loss []."""
        self._passes.backward(loss)

    def _epoch_values(self, validation: Evaluation) -> list[float]:
        """Return the values of the epoch that ends, in the order of `columns`.

        Sets the stop reason if the epoch diverged, and keeps the model if it is the best one.
        """
        components = self.components
        train = self._evaluation(self._losses, components.metrics)
        self._losses = MeanLoss()
        values = {
            "train_loss": train.loss,
            "validation_loss": validation.loss,
            LEARNING_RATE: self._learning_rate,
        }
        for name, value in train.metrics.items():
            values[f"train_{name}"] = value
            values[f"validation_{name}"] = validation.metrics.get(name, math.nan)
        values = self._agreed(values)
        losses = values["train_loss"], 0.0 if self._slices is None else values["validation_loss"]
        if not all(map(math.isfinite, losses)):
            self.stop_reason = StopReason.DIVERGED
            self.epoch += 1
        elif components.monitor is not None and components.monitor.update(self.epoch + 1, values):
            self._keep_best()
        return [values[name] for name in self.columns]

    def _agreed(self, values: dict[str, float]) -> dict[str, float]:
        """Return the values of an epoch, which decide how the training goes on."""
        return values

    def _end_epoch(self, validation: Evaluation, loss: Tensor | None) -> list[float]:
        """End an epoch: compute its values, step the scheduler, count it and decide whether to stop.

        Args:
            validation: Loss and metrics of the validation samples.
            loss: The training loss [] of the last step. With a full batch, its update follows here.

        Returns:
            The epoch's values in the order of `columns`.
        """
        components = self.components
        row = self._epoch_values(validation)
        if self.stop_reason is StopReason.DIVERGED:
            return row  # without an update from a loss that is not finite
        if self._batches.is_full_batch and loss is not None:
            # After the validation and `_keep_best`, which belong to the parameters before the update.
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
        if monitor is not None and monitor.should_stop:
            return StopReason.EARLY_STOPPING
        return StopReason.COMPLETED if self.epoch >= self.components.spec.epochs else None

    def evaluate(self, samples: Samples, on_slice: Callable[[], None] = lambda: None) -> Evaluation:
        """Compute loss and metrics of the current parameters, in eval mode, without gradients.

        Args:
            samples: Samples on any device.
            on_slice: Called after each slice; an exception that it raises ends the evaluation.
        """
        for metric in self._validation_metrics.values():
            metric.reset()  # an interrupted validation leaves sums behind
        return self._evaluate(
            self._sliced(place_samples(samples, self.components.loss, self.components.device)), on_slice
        )

    def _sliced(self, samples: Samples) -> Slices:
        """Divide samples into the slices in which they are evaluated, one if they are small enough."""
        row_bytes = sum(x[:1].nbytes for x in samples.inputs)
        size = rows_per_slice(row_bytes, self._batches.size, self._evaluation_bytes)
        return Slices(samples, size, self.components.device)

    def _evaluate(self, slices: Slices, on_slice: Callable[[], None] | None = None) -> Evaluation:
        losses = MeanLoss()
        for batch in slices:
            self._add_slice(batch, losses)
            if on_slice is not None:
                on_slice()
        return self._evaluation(losses, self._validation_metrics)

    def _add_slice(self, batch: Samples, losses: MeanLoss) -> None:
        """Evaluate a slice: add its loss to `losses`, and update the validation metrics."""
        self._set_training(False)
        with torch.no_grad():  # for small models faster than `torch.inference_mode`
            loss, outputs = self._passes.forward(batch)
            self._measure(outputs, batch.targets, self._validation_metrics)
            components = self.components
            losses.add(loss, loss_weight(components.loss_fn, batch, components.loss.ignores))
        self._set_training(True)

    def _evaluation(self, losses: MeanLoss, metrics: Mapping[str, Metric]) -> Evaluation:
        """Return the mean of the losses and the values of the metrics, and reset the metrics."""
        return Evaluation(
            losses.mean(), {name: compute_and_reset(metric) for name, metric in metrics.items()}
        )

    def _set_training(self, training: bool) -> None:
        """Do what `model.train()` or `model.eval()` does, without its walk through the modules.

        The walk takes as long as a layer of a small model. A class may have its own methods, though.
        """
        if self._sets_modes:
            model = self.components.model
            model.train() if training else model.eval()
            return
        for attributes in self._attributes:
            attributes["training"] = training

    def _keep_best(self) -> None:
        """Copy the model into the best snapshot, in place after the first time.

        Gradients are copied only if they are captured: otherwise, the next step creates new ones.
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
        """Return the current state, in the middle of an epoch too."""
        components, validation = self.components, self._validation
        last = snapshot(components.model, self.epoch)
        if validation is not None:
            # The state before the validation, which a restored training starts again. `state_dict()` leaves
            # out buffers that are not persistent.
            buffers = {name: x for name, x in validation.buffers.items() if name in last.state}
            last = replace(last, state={**last.state, **buffers})
        return Checkpoint(
            last=last,
            # With a full batch, a restored training repeats the forward pass of the epoch.
            partial=self._partial() if self._step and not self._batches.is_full_batch else None,
            best=self._best,
            optimizer=components.optimizer.state_dict(),
            scheduler=None if components.scheduler is None else components.scheduler.state_dict(),
            rng=self._rng() if validation is None else validation.rng,
            monitor=components.monitor.state() if components.monitor else {},
        )

    def _rng(self) -> Tensors:
        """Return the states of the global generators by device."""
        states = {"cpu": torch.get_rng_state()}
        if self.components.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.components.device)
        return states

    def _partial(self) -> PartialEpoch:
        metrics = metric_states(self.components.metrics)
        step = min(self._step, self._batches.steps_per_epoch)  # a restored training validates from the start
        total, weight = self._losses.total(), self._losses.weight
        return PartialEpoch(step, total, self._order, metrics, self._learning_rate, weight)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint as if training had not been interrupted.

        A checkpoint without optimizer state gives initial parameters only.
        """
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
            # A copy: CyclicLR removes entries from the dictionary.
            components.scheduler.load_state_dict(dict(checkpoint.scheduler))
        if components.monitor is not None:
            components.monitor.restore(checkpoint.monitor)
        self.stop_reason = self._reason_to_stop()
        self._best = None if checkpoint.best is None else self._owned(checkpoint.best)
        self._restore_rng(checkpoint.rng)

    def _restore_rng(self, states: Tensors) -> None:
        """Set the global generators, by device."""
        torch.set_rng_state(states["cpu"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.components.device)

    def _restore_partial(self, partial: PartialEpoch) -> None:
        """Restore the position in the epoch and what its batches so far have added up."""
        self._step = partial.step
        rows = min(partial.step * self._batches.size, self.components.train.rows)
        self._losses = MeanLoss(
            partial.loss_sum, rows if partial.loss_weight is None else partial.loss_weight
        )
        self._order = None if partial.order is None else self._placed_order(partial.order)
        self._learning_rate = partial.learning_rate
        restore_metrics(self.components.metrics, partial.metrics)

    def _owned(self, best: Snapshot) -> Snapshot:
        """Copy a snapshot of a checkpoint into tensors in the model's order, on its device."""
        return Snapshot(
            best.epoch,
            {name: torch.empty_like(own).copy_(best.state[name]) for name, own in self._state.items()},
            {name: gradient.to(self.components.device) for name, gradient in best.gradients.items()},
        )

    @property
    def steps_left(self) -> int:
        """Steps to the end of the current epoch; `steps_per_epoch` between two epochs."""
        return self.steps_per_epoch - self._step

    @property
    def best(self) -> Snapshot | None:
        """The model at the best epoch; None before the first one or when no epoch is monitored."""
        return self._best

    def load_best(self) -> None:
        """Load the parameters of the best epoch into the model."""
        if self._best is not None:
            self.components.model.load_state_dict(self._best.state)
