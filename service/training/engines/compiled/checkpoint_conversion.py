"""Between checkpoints, which all engines share, and the state that a program works on."""

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
from service.training.engines.compiled.epoch_inputs import Sources
from service.training.engines.compiled.optimizers import STEP
from service.training.engines.compiled.program import GOING, Marks, Plan, State, by_name
from service.training.engines.compiled.tracing import named_tensors
from service.training.monitor import Monitor


class Exchange:
    """Translates between the checkpoints of one training and a program's state.

    Args:
        plan: of the training's program.
        components: the training's; tensors of its model that aren't trained keep their values.
    """

    def __init__(self, plan: Plan, components: Components) -> None:
        self._plan = plan
        self._group = components.optimizer.param_groups[0]
        model = components.model
        parameters = dict(model.named_parameters())
        self._positions = {name: position for position, name in enumerate(parameters)}
        # A tied parameter is in the model's state under each of its names, and trained under its first.
        first = {id(parameter): name for name, parameter in parameters.items()}
        names = {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
        self._state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        self._first_names = {name: names.get(name, name) for name in self._state}
        tensors = named_tensors(model, components.loss_fn)
        self.others = {name: _array(x) for name, x in tensors.items() if name not in plan.trained}

    def state_of(self, checkpoint: Checkpoint, monitor: Monitor | None) -> State:
        """Where a program goes on from, as NumPy arrays."""
        plan, last, best = self._plan, checkpoint.last, checkpoint.best
        followed = monitor.best.get(monitor.value) if monitor is not None else None
        sign = -1 if plan.monitored is not None and plan.monitored.higher_is_better else 1
        marks = Marks(
            steps=self._steps(_optimizer_state(checkpoint)),
            epoch=last.epoch,
            loss_sum=0,
            best=np.inf if followed is None else sign * followed,
            best_epoch=0 if best is None else best.epoch,
            waited=0 if monitor is None else monitor.epochs_without_improvement,
            ended=GOING,
        )
        return State(
            parameters=self._vector(last.state),
            gradients=self._vector(last.gradients),
            slots=self._slots(_optimizer_state(checkpoint)),
            best_parameters=self._vector((best or last).state),
            best_gradients=self._vector((best or last).gradients),
            marks=np.array(marks, np.float64),
            sums={name: np.zeros(x.shape, x.dtype) for name, x in plan.sums.items()},
        )

    def _vector(self, tensors: Mapping[str, Any], missing: float = 0.0) -> NDArray[np.float32]:
        """The trained parameters' tensors as one vector; one that is missing has this value throughout."""
        pieces = [
            _array(tensors[name]).ravel()
            if tensors.get(name) is not None
            else np.full(math.prod(shape), missing, np.float32)
            for name, shape in self._plan.trained.items()
        ]
        return np.concatenate(pieces)

    def _slots(self, optimizer: Mapping[int, Any]) -> dict[str, Any]:
        """What the optimizer keeps of each parameter, or would keep from the first step on."""
        kept = {name: optimizer.get(self._positions[name], {}) for name in self._plan.trained}
        return {
            slot: self._vector({name: each.get(slot) for name, each in kept.items()}, missing=first)
            for slot, first in self._plan.rule.slots(self._group).items()
        }

    def _steps(self, optimizer: Mapping[int, Any]) -> int:
        """Steps so far; where the optimizer doesn't count them, whether there were any."""
        kept = [optimizer.get(self._positions[name], {}) for name in self._plan.trained]
        if self._plan.rule.counts:
            return max(int(each.get(STEP, 0)) for each in kept)
        return int(any(each.get("momentum_buffer") is not None for each in kept))

    def checkpoint_of(
        self, state: State, sources: Sources, before: Checkpoint, monitor: Monitor | None
    ) -> Checkpoint:
        """The checkpoint of a state, as the eager engine would have written it.

        Args:
            state: NumPy arrays.
            sources: what its next epoch is drawn from.
            before: the checkpoint that the program went on from.
            monitor: as it is now.
        """
        marks = Marks(*state.marks.tolist())
        epoch = int(marks.epoch)
        stepped = epoch > before.last.epoch or bool(before.last.gradients)
        return Checkpoint(
            last=self._snapshot(epoch, state.parameters, state.gradients if stepped else None),
            best=self.best_of(state),
            optimizer={"state": self._optimizer(state, before), "param_groups": sources.groups},
            scheduler=sources.scheduler,
            rng={**before.rng, "cpu": sources.rng},
            monitor=monitor.state() if monitor is not None else {},
        )

    def best_of(self, state: State) -> Snapshot | None:
        """The model at the best epoch, when one is followed."""
        epoch = int(Marks(*state.marks).best_epoch)
        if epoch == 0:
            return None
        # With a full batch the first epoch's losses are those before any step.
        stepped = epoch > 1 or not self._plan.batches.is_full_batch
        return self._snapshot(epoch, state.best_parameters, state.best_gradients if stepped else None)

    def _snapshot(
        self, epoch: int, parameters: NDArray[np.float32], gradients: NDArray[np.float32] | None
    ) -> Snapshot:
        trained = self._tensors(parameters)
        state = {name: trained.get(first, self._state[name]) for name, first in self._first_names.items()}
        return Snapshot(epoch, state, {} if gradients is None else self._tensors(gradients))

    def _tensors(self, vector: NDArray[np.float32]) -> TorchTensors:
        return {name: torch.from_numpy(np.array(x)) for name, x in by_name(self._plan, vector).items()}

    def _optimizer(self, state: State, before: Checkpoint) -> dict[int, Any]:
        kept = _optimizer_state(before)
        steps = Marks(*state.marks.tolist()).steps
        if steps == 0:
            return kept
        slots = {slot: self._tensors(vector) for slot, vector in state.slots.items()}
        for name in self._plan.trained:
            entry = {STEP: torch.tensor(steps)} if self._plan.rule.counts else {}
            entry |= {slot: tensors[name] for slot, tensors in slots.items()}
            if entry:
                kept[self._positions[name]] = entry
        return kept


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _optimizer_state(checkpoint: Checkpoint) -> dict[int, Any]:
    """The optimizer's state by the parameters' numbers; an engine's own checkpoints always have it."""
    if checkpoint.optimizer is None:
        raise ValueError("This checkpoint holds only parameters to begin with.")
    return dict(checkpoint.optimizer["state"])
