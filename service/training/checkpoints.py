"""A checkpoint: everything a training needs to go on, as one safetensors file.

Tensors carry a prefix for what they are (`model/`, `gradient/`, `best/model/`, `optimizer/0/`, …); all
else is JSON, in the file's metadata but for the encoding's, which is a tensor of bytes. Nothing is pickled.
No engine's private state is in it, so that one engine can take up what another left.
"""

import json
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.optim import Optimizer

Tensors = dict[str, Tensor]

# The text of an encoding, in bytes: it has every category of the data, and a header takes 100 MB at most.
# Older files have it there.
_ENCODING = "encoding"


@dataclass(frozen=True)
class Snapshot:
    """The parameters and buffers of a model, and the gradients of the last step before them.

    Attributes:
        epoch: the epoch they belong to.
        state: `state_dict()`.
        gradients: by parameter name; a parameter without gradient is left out.
    """

    epoch: int
    state: Tensors
    gradients: Tensors


@dataclass(frozen=True)
class PartialEpoch:
    """What is known of an epoch that was broken off between two of its steps.

    Attributes:
        step: how many of its steps were taken.
        loss_sum: Σ n_b · loss_b over their batches.
        order: the order of its samples, int64 [N]; None where they are taken as they lie.
        metrics: what the metrics have taken in, by `<metric>/<state>`.
        learning_rate: of its last step.
    """

    step: int
    loss_sum: float
    order: Tensor | None
    metrics: Tensors
    learning_rate: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after `last.epoch` epochs, and a part of the next one.

    Attributes:
        last: the model now.
        partial: the part of the next epoch; None between epochs.
        best: the model at the best epoch, when one is followed.
        optimizer: `state_dict()` of the optimizer; None: there are only parameters to begin with.
        scheduler: `state_dict()` of the scheduler.
        rng: random number generator states by device (`cpu`, `cuda:0`).
        monitor: best-so-far and early stopping, see `Monitor.state`.
        encoding: how data becomes tensors, as JSON: predictions need it.
        side_by_side: whether it was trained in a program for several trainings, which rounds otherwise
            than one for a training alone.
    """

    last: Snapshot
    partial: PartialEpoch | None = None
    best: Snapshot | None = None
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    rng: Tensors = field(default_factory=dict)
    monitor: dict[str, Any] = field(default_factory=dict)
    encoding: dict[str, Any] = field(default_factory=dict)
    side_by_side: bool = False

    def to_bytes(self) -> bytes:
        """The safetensors file."""
        return safetensors.torch.save(*self._content())

    def save(self, path: Path) -> int:
        """Write the safetensors file straight from the tensors, without a copy of them in memory.

        Returns:
            Its bytes.

        Raises:
            OSError: when it can't be written.
        """
        tensors, metadata = self._content()
        try:
            safetensors.torch.save_file(tensors, path, metadata)
        except safetensors.SafetensorError as error:  # e.g. a full disk
            raise OSError(str(error)) from error
        return path.stat().st_size

    def _content(self) -> tuple[Tensors, dict[str, str]]:
        """The file's tensors and its metadata."""
        tensors = _prefixed("model/", self.last.state) | _prefixed("gradient/", self.last.gradients)
        if self.best:
            tensors |= _prefixed("best/model/", self.best.state)
            tensors |= _prefixed("best/gradient/", self.best.gradients)
        if self.partial:
            tensors |= _prefixed("partial/metric/", self.partial.metrics)
            if self.partial.order is not None:
                tensors["partial/order"] = self.partial.order
        optimizer_values = None
        if self.optimizer is not None:
            optimizer_tensors, optimizer_values = _split_optimizer(self.optimizer)
            tensors |= optimizer_tensors
        tensors |= _prefixed("rng/", self.rng)
        tensors[_ENCODING] = _to_tensor(self.encoding)
        # Not orjson: what is infinite (a plateau's `mode_worse`) or NaN must come back as it was.
        metadata = {
            "epoch": self.last.epoch,
            "partial": self.partial
            and {name: getattr(self.partial, name) for name in ("step", "loss_sum", "learning_rate")},
            "best_epoch": self.best.epoch if self.best else None,
            "optimizer": optimizer_values,
            "scheduler": _counters_to_json(self.scheduler),
            "monitor": self.monitor,
            "side_by_side": self.side_by_side,
        }
        return unshared(tensors), {"fitserve": json.dumps(metadata)}

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """The inverse of `to_bytes`."""
        tensors, metadata = safetensors.torch.load(body), _metadata(body)
        best_epoch = metadata["best_epoch"]
        return cls(
            last=_snapshot(tensors, "", metadata["epoch"]),
            partial=_partial(tensors, metadata["partial"]),
            best=None if best_epoch is None else _snapshot(tensors, "best/", best_epoch),
            optimizer=_join_optimizer(_below(tensors, "optimizer/"), metadata["optimizer"]),
            scheduler=_counters_from_json(metadata["scheduler"]),
            rng=_below(tensors, "rng/"),
            monitor=metadata["monitor"],
            encoding=_from_tensor(tensors[_ENCODING]) if _ENCODING in tensors else metadata["encoding"],
            side_by_side=metadata.get("side_by_side", False),
        )


def unshared(tensors: Mapping[str, Tensor]) -> Tensors:
    """Contiguous tensors of which no two share memory: what safetensors takes (tied ones are cloned)."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        own = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        result[name] = tensor.contiguous() if own else tensor.contiguous().clone()
    return result


def snapshot(model: torch.nn.Module, epoch: int) -> Snapshot:
    """The model as it is now; the tensors are the model's own, not copies."""
    return Snapshot(epoch, dict(model.state_dict()), gradients_of(model))


def gradients_of(model: torch.nn.Module) -> Tensors:
    """The gradients by parameter name."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _metadata(body: bytes) -> Any:
    # The format: eight bytes of header length, little-endian, then the header as JSON.
    length = int.from_bytes(body[:8], "little")
    return json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["fitserve"])


def _to_tensor(document: Mapping[str, Any]) -> Tensor:
    """A document's JSON, uint8 [n]."""
    return torch.frombuffer(bytearray(json.dumps(document, ensure_ascii=False).encode()), dtype=torch.uint8)


def _from_tensor(text: Tensor) -> Any:
    return json.loads(text.numpy().tobytes())


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor.detach() for name, tensor in tensors.items()}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _snapshot(tensors: Mapping[str, Tensor], prefix: str, epoch: int) -> Snapshot:
    return Snapshot(epoch, _below(tensors, f"{prefix}model/"), _below(tensors, f"{prefix}gradient/"))


def _partial(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any] | None) -> PartialEpoch | None:
    if numbers is None:
        return None
    metrics = _below(tensors, "partial/metric/")
    order, learning_rate = tensors.get("partial/order"), numbers.get("learning_rate", 0.0)
    return PartialEpoch(numbers["step"], numbers["loss_sum"], order, metrics, learning_rate)


def _split_optimizer(state: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """An optimizer's state_dict as tensors by `optimizer/<parameter>/<name>` and JSON for the rest."""
    tensors: Tensors = {}
    values: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        values[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value.detach()
            else:
                values[str(index)][name] = value
    return tensors, {"state": values, "param_groups": state["param_groups"]}


def _join_optimizer(tensors: Mapping[str, Tensor], values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    state: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in values["state"].items()
    }
    for path, tensor in tensors.items():
        index, _, name = path.partition("/")
        state[int(index)][name] = tensor
    return {"state": state, "param_groups": values["param_groups"]}


# Of an optimizer's numbers, what depends on where it runs.
_OF_THE_DEVICE = {"capturable"}


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a state_dict that went through JSON: lists that were tuples (betas) are made tuples again."""
    fresh = optimizer.state_dict()["param_groups"]
    groups = [
        {name: tuple(value) if isinstance(new.get(name), tuple) else value for name, value in old.items()}
        | {name: new[name] for name in _OF_THE_DEVICE & new.keys()}
        for new, old in zip(fresh, state["param_groups"], strict=True)
    ]
    # A copy: the optimizer keeps the tensors it is given, and changes them.
    optimizer.load_state_dict({"state": deepcopy(state["state"]), "param_groups": groups})


def _counters_to_json(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """MultiStepLR keeps its milestones in a Counter, whose int keys JSON would make strings."""
    if state is None:
        return None
    return {k: {"counter": sorted(v.elements())} if isinstance(v, Counter) else v for k, v in state.items()}


def _counters_from_json(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {name: Counter(v["counter"]) if isinstance(v, dict) else v for name, v in state.items()}
