"""Conversion between checkpoints, which all engines share, and the state of a program.

A checkpoint holds tensors by name, as PyTorch's `state_dict()`s do; a program's state holds flat vectors. The
conversion is exact in both directions: a training can be continued by either engine from a checkpoint of the
other. The correspondences that are not a mere renaming:

- A tied parameter or buffer is in the model's `state_dict()` under each of its names, and in the state of a
  program once, under its first name.
- PyTorch creates an optimizer's state in the first step. A program always has it, filled with its initial
  values, and a checkpoint of a training that took no step leaves it out again.
- PyTorch has no gradients before the first step; a program has zeros.
- SGD counts no steps in its state, but its first step with momentum is a special case. The existence of a
  momentum buffer decides whether a step was taken.

Shapes in comments use the letters of `program`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.checkpoints import Checkpoint, Snapshot
from service.training.checkpoints import Tensors as TorchTensors
from service.training.components import Components
from service.training.engines.compiled.epoch_inputs import DrawState
from service.training.engines.compiled.program import RUNNING, Plan, Scalars, State
from service.training.engines.compiled.tracing import named_tensors
from service.training.engines.compiled.update_rule import STEP, Shapes, StateTensor, unflatten
from service.training.monitor import Monitor


class CheckpointConverter:
    """Converts between the checkpoints of one training and its program's state.

    Args:
        plan: The plan of the training's program.
        components: The training's. Tensors of its model that are not trained keep their values.

    Attributes:
        untrained: Tensors of model and loss that training does not change, by name.
    """

    def __init__(self, plan: Plan, components: Components) -> None:
        self._plan = plan
        self._state_tensors = plan.rule.state(components.optimizer.param_groups[0])
        model = components.model
        parameters = dict(model.named_parameters())
        # An optimizer's state is keyed by the position of a parameter among all parameters.
        self._positions = {name: position for position, name in enumerate(parameters)}
        self._model_state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        tensors = named_tensors(model, components.loss_fn)
        # `tensors` has a tied parameter or buffer under its first name only: map every name to the first.
        first = {id(tensor): name for name, tensor in tensors.items()}
        all_tensors = (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        )
        names = {name: first[id(tensor)] for name, tensor in all_tensors}
        self._first_names = {name: names.get(name, name) for name in self._model_state}
        self._dtype = np.result_type(*(_array(tensors[name]) for name in plan.trained))
        self.untrained = {
            name: _array(x) for name, x in tensors.items() if name not in {*plan.trained, *plan.buffers}
        }

    def to_state(self, checkpoint: Checkpoint, monitor: Monitor | None) -> State:
        """Return the state from which a program continues a checkpoint, as NumPy arrays of one job.

        Args:
            checkpoint: The checkpoint between two epochs.
            monitor: The training's monitor, restored from the checkpoint.

        Raises:
            ValueError: The checkpoint holds no optimizer state.
        """
        plan, last = self._plan, checkpoint.last
        best = checkpoint.best or last  # without a best epoch, any tensors of the right shapes
        monitored = monitor.best.get(monitor.value) if monitor is not None else None
        sign = -1 if plan.monitored is not None and plan.monitored.higher_is_better else 1
        scalars = Scalars(
            steps=self._steps(_optimizer_state(checkpoint)),
            epoch=last.epoch,
            loss_sum=0,
            loss_weight=0,
            best=np.inf if monitored is None else sign * monitored,
            best_epoch=0 if checkpoint.best is None else checkpoint.best.epoch,
            epochs_without_improvement=0 if monitor is None else monitor.epochs_without_improvement,
            status=RUNNING,
        )
        return State(
            parameters=self._flatten(last.state),  # [P], as all vectors below
            gradients=self._flatten(last.gradients),
            buffers=self._buffers(last),
            optimizer_state=self._flat_optimizer_state(_optimizer_state(checkpoint)),
            best_parameters=self._flatten(best.state),
            best_gradients=self._flatten(best.gradients),
            best_buffers=self._buffers(best),
            scalars=np.array(scalars, np.float64),  # [8]
            kept={name: np.zeros(x.shape, x.dtype) for name, x in plan.kept.items()},
        )

    def _buffers(self, saved: Snapshot) -> dict[str, NDArray[Any]]:
        """Return the tensors, other than trained parameters, that a program changes."""
        return {name: _array(saved.state[name]) for name in self._plan.buffers}

    def _flatten(
        self, tensors: Mapping[str, Any], shapes: Shapes | None = None, missing: float = 0.0
    ) -> NDArray[Any]:
        """Return tensors as one vector.

        Args:
            tensors: Tensors by parameter name.
            shapes: The shapes of the tensors; by default those of the trained parameters, for a vector [P].
            missing: The value that fills the elements of a tensor that is missing.
        """
        pieces = [
            _array(tensors[name]).ravel()
            if tensors.get(name) is not None
            else np.full(math.prod(shape), missing, self._dtype)
            for name, shape in (self._plan.trained if shapes is None else shapes).items()
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, self._dtype)

    def _flat_optimizer_state(self, optimizer: Mapping[int, Any]) -> dict[str, Any]:
        """Return each tensor of the optimizer's state by name, as `UpdateRule.update_all` takes it."""
        by_parameter = {name: optimizer.get(self._positions[name], {}) for name in self._plan.trained}

        def flat(key: str, tensor: StateTensor) -> NDArray[Any]:
            own = {name: state.get(key) for name, state in by_parameter.items()}
            if tensor.is_shared:
                found = next((value for value in own.values() if value is not None), tensor.fill)
                return np.array(float(found), np.float32)
            return self._flatten(own, tensor.shapes(self._plan.trained), tensor.fill)

        return {key: flat(key, tensor) for key, tensor in self._state_tensors.items()}

    def _steps(self, optimizer: Mapping[int, Any]) -> int:
        """Return the number of steps taken; 0 or 1 for an optimizer that does not count them (SGD)."""
        states = [optimizer.get(self._positions[name], {}) for name in self._plan.trained]
        if self._plan.rule.counts_steps:
            return max(int(state.get(STEP, 0)) for state in states)
        return int(any(state.get("momentum_buffer") is not None for state in states))

    def to_checkpoint(
        self, state: State, draw_state: DrawState, origin: Checkpoint, monitor: Monitor | None
    ) -> Checkpoint:
        """Return the checkpoint that the eager engine would have written in this state.

        Args:
            state: NumPy arrays of one job, at the end of an epoch.
            draw_state: The states from which the next epoch is drawn.
            origin: The checkpoint from which the program started.
            monitor: The training's monitor now.
        """
        scalars = Scalars(*state.scalars.tolist())
        epoch = int(scalars.epoch)
        has_stepped = epoch > origin.last.epoch or bool(origin.last.gradients)
        return Checkpoint(
            last=self._snapshot(
                epoch, state.parameters, state.buffers, state.gradients if has_stepped else None
            ),
            best=self.best_snapshot(state),
            optimizer={
                "state": self._optimizer_state_dict(state, origin),
                "param_groups": draw_state.param_groups,
            },
            scheduler=draw_state.scheduler,
            rng={**origin.rng, "cpu": draw_state.rng},
            monitor=monitor.state() if monitor is not None else {},
        )

    def best_snapshot(self, state: State) -> Snapshot | None:
        """Return the model at the best epoch; None before the first one."""
        epoch = int(Scalars(*state.scalars).best_epoch)
        if epoch == 0:
            return None
        # With a full batch, the losses of the first epoch precede any step, and so any gradients.
        has_stepped = epoch > 1 or not self._plan.batches.is_full_batch
        return self._snapshot(
            epoch,
            state.best_parameters,
            state.best_buffers,
            state.best_gradients if has_stepped else None,
        )

    def _snapshot(
        self,
        epoch: int,
        parameters: NDArray[np.float32],
        buffers: Mapping[str, NDArray[Any]],
        gradients: NDArray[np.float32] | None,
    ) -> Snapshot:
        """Return a snapshot of the model with parameters [P], buffers by name and gradients [P]."""
        changed = self._unflatten(parameters, self._plan.trained) | _tensors(buffers)
        model_state = {
            name: changed.get(first, self._model_state[name]) for name, first in self._first_names.items()
        }
        return Snapshot(
            epoch, model_state, {} if gradients is None else self._unflatten(gradients, self._plan.trained)
        )

    def _unflatten(self, vector: NDArray[np.float32], shapes: Shapes) -> TorchTensors:
        return _tensors(unflatten(shapes, vector))

    def _optimizer_state_dict(self, state: State, origin: Checkpoint) -> dict[int, Any]:
        """Return the `state` of the optimizer's `state_dict()`; of parameters not trained, the origin's."""
        result = _optimizer_state(origin)
        steps = Scalars(*state.scalars.tolist()).steps
        if steps == 0:
            return result
        trained, entries = self._plan.trained, {}
        for name in trained:
            entries[name] = {STEP: torch.tensor(steps)} if self._plan.rule.counts_steps else {}
        for key, tensor in self._state_tensors.items():
            array = state.optimizer_state[key]
            if tensor.is_shared:
                by_name = {name: torch.from_numpy(np.array(array)) for name in trained}
            else:
                by_name = self._unflatten(array, tensor.shapes(trained))
            for name, value in by_name.items():
                entries[name][key] = value
        return result | {self._positions[name]: entry for name, entry in entries.items() if entry}


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> TorchTensors:
    """Copy arrays into tensors: those of `jax.device_get` are read-only, and PyTorch has no such tensors."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _optimizer_state(checkpoint: Checkpoint) -> dict[int, Any]:
    """Return a copy of the optimizer's state by parameter position."""
    if checkpoint.optimizer is None:
        raise ValueError("The checkpoint holds parameters only, without the state of an optimizer.")
    return dict(checkpoint.optimizer["state"])
