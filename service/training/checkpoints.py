"""Checkpoints: the complete state of a training, as one safetensors file.

The names of tensors start with their part of the state: `model/`, `gradient/`, `best/model/`, `optimizer/0/`.
Everything else is JSON: the encoding in a tensor of bytes, the rest in the metadata of the file. Nothing is
pickled. A checkpoint contains no state that is private to an engine, so any engine can continue from it.
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

# The encoding contains every category of the data and may be too large for the header, which safetensors
# limits to 100 MB. Older files have the encoding in the header.
_ENCODING = "encoding"
_PARTIAL_NUMBERS = ("step", "loss_sum", "learning_rate", "loss_weight")


@dataclass(frozen=True)
class Snapshot:
    """Parameters and buffers of a model, and the gradients of the step that led to them.

    Attributes:
        epoch: Number of completed epochs.
        state: The model's `state_dict()`.
        gradients: Gradients by parameter name; parameters without a gradient are absent.
    """

    epoch: int
    state: Tensors
    gradients: Tensors


@dataclass(frozen=True)
class PartialEpoch:
    """State of an epoch that was interrupted between two steps.

    Attributes:
        step: Number of steps taken.
        loss_sum: Σ n_b · loss_b over the batches of these steps.
        order: Order of the epoch's samples, int64 [N]; None without shuffling.
        metrics: States of the metrics by `<metric>/<state>`.
        learning_rate: Learning rate of the last step.
        loss_weight: Σ n_b over these batches; None in older files, where it is the number of rows.
    """

    step: int
    loss_sum: float
    order: Tensor | None
    metrics: Tensors
    learning_rate: float = 0.0
    loss_weight: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after `last.epoch` epochs and possibly some steps of the next one.

    Attributes:
        last: The current model.
        partial: State of the unfinished epoch; None between epochs.
        best: The model at the best epoch; None without a monitor.
        optimizer: `state_dict()` of the optimizer; None for a checkpoint of initial parameters only.
        scheduler: `state_dict()` of the scheduler; None without one.
        rng: States of the random number generators by device type (`cpu`, `cuda`).
        monitor: State of the monitor, see `Monitor.state`.
        encoding: The data's `Encoding` as JSON, for predictions.
        side_by_side: Whether the training ran in a program for a group, whose rounding differs from that of a
            program for a single training.
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
        """Serialize to a safetensors file in memory."""
        return safetensors.torch.save(*self._content())

    def save(self, path: Path) -> int:
        """Write a safetensors file directly from the tensors, without copying them in memory.

        Returns:
            Size of the file in bytes.

        Raises:
            OSError: The file can't be written.
        """
        tensors, metadata = self._content()
        try:
            safetensors.torch.save_file(tensors, path, metadata)
        except safetensors.SafetensorError as error:  # e.g. a full disk
            raise OSError(str(error)) from error
        return path.stat().st_size

    def _content(self) -> tuple[Tensors, dict[str, str]]:
        """Return the tensors and the metadata of the file."""
        tensors = _add_prefix("model/", self.last.state) | _add_prefix("gradient/", self.last.gradients)
        if self.best:
            tensors |= _add_prefix("best/model/", self.best.state)
            tensors |= _add_prefix("best/gradient/", self.best.gradients)
        if self.partial:
            tensors |= _add_prefix("partial/metric/", self.partial.metrics)
            if self.partial.order is not None:
                tensors["partial/order"] = self.partial.order
        optimizer_values = None
        if self.optimizer is not None:
            optimizer_tensors, optimizer_values = _split_optimizer(self.optimizer)
            tensors |= optimizer_tensors
        tensors |= _add_prefix("rng/", self.rng)
        tensors[_ENCODING] = _to_tensor(self.encoding)
        # Not orjson, which writes NaN and infinity (`mode_worse` of ReduceLROnPlateau) as null.
        metadata = {
            "epoch": self.last.epoch,
            "partial": self.partial and {name: getattr(self.partial, name) for name in _PARTIAL_NUMBERS},
            "best_epoch": self.best.epoch if self.best else None,
            "optimizer": optimizer_values,
            "scheduler": _counters_to_json(self.scheduler),
            "monitor": self.monitor,
            "side_by_side": self.side_by_side,
        }
        return without_shared_memory(tensors), {"fitserve": json.dumps(metadata)}

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read a safetensors file written by `to_bytes` or `save`."""
        tensors, metadata = safetensors.torch.load(body), _metadata(body)
        best_epoch = metadata["best_epoch"]
        return cls(
            last=_snapshot(tensors, "", metadata["epoch"]),
            partial=_partial(tensors, metadata["partial"]),
            best=None if best_epoch is None else _snapshot(tensors, "best/", best_epoch),
            optimizer=_join_optimizer(_take_prefix(tensors, "optimizer/"), metadata["optimizer"]),
            scheduler=_counters_from_json(metadata["scheduler"]),
            rng=_take_prefix(tensors, "rng/"),
            monitor=metadata["monitor"],
            encoding=_from_tensor(tensors[_ENCODING]) if _ENCODING in tensors else metadata["encoding"],
            side_by_side=metadata.get("side_by_side", False),
        )


def read_encoding(path: Path) -> Any:
    """Read the encoding alone from the file of a checkpoint, as JSON."""
    with safetensors.safe_open(path, "pt") as file:
        if _ENCODING in set(file.keys()):
            return _from_tensor(file.get_tensor(_ENCODING))
        return json.loads(file.metadata()["fitserve"])["encoding"]


def without_shared_memory(tensors: Mapping[str, Tensor]) -> Tensors:
    """Make tensors contiguous and clone those that share memory (tied weights), as safetensors requires."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        # A tensor that covers only a part of its storage is a view, possibly of another tensor's memory.
        own = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        result[name] = tensor.contiguous() if own else tensor.contiguous().clone()
    return result


def snapshot(model: torch.nn.Module, epoch: int) -> Snapshot:
    """Take a snapshot of the model; its tensors are the model's own, not copies."""
    return Snapshot(epoch, dict(model.state_dict()), gradients_of(model))


def gradients_of(model: torch.nn.Module) -> Tensors:
    """Return the gradients by parameter name; parameters without a gradient are absent."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _metadata(body: bytes) -> Any:
    # The format of safetensors: header length as 8 little-endian bytes, the header as JSON, the tensors.
    length = int.from_bytes(body[:8], "little")
    return json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["fitserve"])


def _to_tensor(document: Mapping[str, Any]) -> Tensor:
    """Encode a document as the bytes of its JSON, uint8 [n]."""
    return torch.frombuffer(bytearray(json.dumps(document, ensure_ascii=False).encode()), dtype=torch.uint8)


def _from_tensor(text: Tensor) -> Any:
    return json.loads(text.numpy().tobytes())


def _add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor.detach() for name, tensor in tensors.items()}


def _take_prefix(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Return the tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _snapshot(tensors: Mapping[str, Tensor], prefix: str, epoch: int) -> Snapshot:
    return Snapshot(
        epoch, _take_prefix(tensors, f"{prefix}model/"), _take_prefix(tensors, f"{prefix}gradient/")
    )


def _partial(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any] | None) -> PartialEpoch | None:
    if numbers is None:
        return None
    metrics = _take_prefix(tensors, "partial/metric/")
    order, learning_rate = tensors.get("partial/order"), numbers.get("learning_rate", 0.0)
    loss_weight = numbers.get("loss_weight")
    return PartialEpoch(numbers["step"], numbers["loss_sum"], order, metrics, learning_rate, loss_weight)


def _split_optimizer(state: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """Split an optimizer's `state_dict` into tensors by `optimizer/<parameter>/<name>` and JSON."""
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


# Options of an optimizer that depend on the device and so are not restored.
_DEVICE_OPTIONS = {"capturable"}


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a `state_dict` that was stored as JSON; lists that were tuples (`betas`) become tuples again.

    Args:
        optimizer: A newly constructed optimizer.
        state: The `state_dict`; it is not changed.
    """
    fresh = optimizer.state_dict()["param_groups"]
    groups = [
        {name: tuple(value) if isinstance(new.get(name), tuple) else value for name, value in old.items()}
        | {name: new[name] for name in _DEVICE_OPTIONS & new.keys()}
        for new, old in zip(fresh, state["param_groups"], strict=True)
    ]
    # The optimizer keeps the tensors of the state and updates them in place, so it needs a copy.
    optimizer.load_state_dict({"state": deepcopy(state["state"]), "param_groups": groups})


def _counters_to_json(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Convert Counters (the milestones of MultiStepLR) to lists: JSON would make their keys strings."""
    if state is None:
        return None
    return {k: {"counter": sorted(v.elements())} if isinstance(v, Counter) else v for k, v in state.items()}


def _counters_from_json(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {name: Counter(v["counter"]) if isinstance(v, dict) else v for name, v in state.items()}
