"""The processes of a parallel training, and how they exchange tensors."""

import json
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public by its documentation

from service.training.checkpoints import Tensors

# While the first process writes a checkpoint or waits for the database, the others wait for it.
COLLECTIVE_SECONDS = 24 * 3600.0
# Time in which a process that has failed tells the others why.
FAILURE_SECONDS = 2.0
_FAILURE = "failure"


class RankLost(Exception):
    """Another process of the training has ended or failed."""


class Part(NamedTuple):
    """The loss of this process's rows of a batch.

    Attributes:
        loss: The loss [].
        divisor: What it divides by, see `weighted_loss.loss_divisor`; 0 without own rows.
        weight: Its weight in the mean over batches; 0 without own rows.
    """

    loss: Tensor
    divisor: int | Tensor
    weight: int | Tensor


class Whole(NamedTuple):
    """The loss of a batch that several processes share.

    Attributes:
        loss: The loss [].
        weight: Its weight [] in the mean over batches.
    """

    loss: Tensor
    weight: int | Tensor


class Ranks:
    """The processes of one training, seen from one of them.

    Every method that exchanges tensors must be called by all processes, in the same order.

    Args:
        store: The key-value store in which the processes meet; the first one hosts it.
        rank: Number of this process, from 0.
        count: Number of processes.
        device: Device of this process.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.

    Raises:
        RankLost: Not all processes have come within the time-out of the store.
    """

    def __init__(self, store: TCPStore, rank: int, count: int, device: torch.device) -> None:
        self.rank = rank
        self.count = count
        self._store = store
        self._buffers: dict[torch.dtype, Tensor] = {}
        if ip_address(store.host).is_loopback:
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with self._losing():
            dist.init_process_group(
                backend,
                store=store,
                rank=rank,
                world_size=count,
                timeout=timedelta(seconds=COLLECTIVE_SECONDS),
            )

    def close(self) -> None:
        """Leave the group: collectives of the other processes fail from then on."""
        with suppress(RuntimeError):
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Raise `RankLost` where a collective fails."""
        try:
            yield
        except RuntimeError as error:
            raise RankLost(str(error)) from error

    def own_rows(self, start: int, end: int, order: Tensor | None) -> Tensor:
        """Return this process's rows of a batch, int64 [b]: every `count`-th one.

        Of a batch with fewer rows than processes, some have none: they get the first row, see `has_rows`.

        Args:
            start: Position of the batch in the epoch.
            end: Position after it.
            order: Order of the epoch's samples, int64 [n]; None for their own.
        """
        first = start + self.rank if self.has_rows(start, end) else start
        own = slice(first, end, self.count) if self.has_rows(start, end) else slice(start, start + 1)
        return torch.arange(own.start, own.stop, own.step) if order is None else order[own]

    def has_rows(self, start: int, end: int) -> bool:
        """Return whether this process has rows of its own in a batch."""
        return start + self.rank < end

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of the first process.

        An expanded tensor, which nothing can write to, stays as it is.
        """
        written = [tensor for tensor in tensors if tensor.numel() and 0 not in tensor.stride()]
        # In one exchange, as bytes; larger elements come first, which aligns them all.
        ordered = sorted(written, key=lambda tensor: -tensor.element_size())
        parts = [_as_bytes(tensor.detach().contiguous()) for tensor in ordered]
        if not parts:
            return
        with torch.no_grad():
            flat = torch.cat(parts)
            self._broadcast(flat)
            start = 0
            for tensor in ordered:
                own = flat[start : start + tensor.nbytes]
                tensor.copy_(own.view(tensor.dtype).view_as(tensor))
                start += tensor.nbytes

    def average(self, gradients: Sequence[Tensor], part: Part) -> Whole:
        """Overwrite the gradients of this process's loss by those of the loss of the whole batch.

        Both are weighted means, Σ d_r·x_r / Σ d_r, computed in one exchange for each data type.

        Args:
            gradients: On the device of this process; empty for the loss only.
            part: This process's part of the batch.

        Returns:
            The loss of the whole batch.
        """
        loss = part.loss.detach()
        weights = torch.stack(
            [torch.as_tensor(x, dtype=loss.dtype, device=loss.device) for x in (part.divisor, part.weight)]
        )
        by_dtype: dict[torch.dtype, list[Tensor]] = {loss.dtype: []}
        for gradient in gradients:
            by_dtype.setdefault(gradient.dtype, []).append(gradient)
        with torch.no_grad():
            sums = {}
            for dtype, same in by_dtype.items():
                ends = [loss.reshape(1), weights] if dtype == loss.dtype else []
                flat = self._concatenated([*same, *ends])
                values = flat[: -len(weights)] if ends else flat
                values.mul_(weights[0].to(dtype))
                # Without rows that count, maybe NaN: of a row that is not its own, or 0 / 0.
                if isinstance(part.divisor, Tensor) or not part.divisor:
                    values.masked_fill_(weights[0] == 0, 0.0)
                with self._losing():
                    dist.all_reduce(flat)
                sums[dtype] = flat
            # A copy, not a view of all gradients.
            total, divisor, weight = sums[loss.dtype][-1 - len(weights) :].clone()
            # Where no row of the batch counts, gradients are 0, as in PyTorch.
            counted = divisor.clamp(min=torch.finfo(loss.dtype).tiny)
            for dtype, same in by_dtype.items():
                start = 0
                for gradient in same:
                    own = sums[dtype][start : start + gradient.numel()]
                    torch.div(own.view_as(gradient), counted, out=gradient)
                    start += gradient.numel()
        return Whole(total / divisor, weight)

    def _concatenated(self, tensors: Sequence[Tensor]) -> Tensor:
        """Concatenate tensors of one data type [n] in a buffer: memory of megabytes is dear to allocate."""
        size, dtype = sum(tensor.numel() for tensor in tensors), tensors[0].dtype
        buffer = self._buffers.get(dtype)
        if buffer is None or len(buffer) != size:
            buffer = self._buffers[dtype] = torch.empty(size, dtype=dtype, device=tensors[0].device)
        return torch.cat([tensor.reshape(-1) for tensor in tensors], out=buffer)

    def equal(self, numbers: Sequence[float]) -> Sequence[float]:
        """Return the numbers of the first process, NaN included."""
        shared = torch.tensor(numbers, dtype=torch.float64)
        self._broadcast(shared)
        return shared.tolist()

    def gather(self, part: Tensor, rows: int) -> Tensor | None:
        """Join the parts of a batch at the first process, in the order of the batch.

        Args:
            part: Values of this process's rows, [b, …].
            rows: Number of rows of the batch, B.

        Returns:
            The values [B, …]; None in other processes.
        """
        most = math.ceil(rows / self.count)
        own = part.detach().new_zeros((most, *part.shape[1:]))
        own[: len(part)] = part.detach()[:most]
        parts = [torch.empty_like(own) for _ in range(self.count)] if self.leads else None
        self._gather(_as_bytes(own), None if parts is None else [*map(_as_bytes, parts)])
        return None if parts is None else torch.stack(parts, dim=1).flatten(0, 1)[:rows]

    def gather_states(self, states: Tensors) -> Tensors:
        """Add the states of generators of the other processes, `<device type>/<rank>`, at the first one.

        Args:
            states: This process's states, uint8 [n], by device type.
        """
        gathered = dict(states)
        for name, own in states.items():
            parts = [torch.empty_like(own) for _ in range(self.count)] if self.leads else None
            self._gather(own, parts)
            gathered |= {f"{name}/{rank}": part for rank, part in enumerate(parts or []) if rank}
        return gathered

    def own_states(self, states: Tensors) -> Tensors:
        """Return this process's states, by device type, of those that `gather_states` has collected.

        Returns:
            Nothing if the checkpoint is of fewer processes.
        """
        if self.leads:
            return states
        own = f"/{self.rank}"
        return {name.removesuffix(own): state for name, state in states.items() if name.endswith(own)}

    def command(self, steps: int = 0) -> int:
        """Return the number that the first process gives; the others wait for it."""
        number = torch.tensor(steps)
        self._broadcast(number)
        return int(number)

    def _broadcast(self, tensor: Tensor) -> None:
        with self._losing():
            dist.broadcast(tensor, src=0)

    def _gather(self, own: Tensor, parts: list[Tensor] | None) -> None:
        with self._losing():
            dist.gather(own, parts)

    def fail(self, document: Mapping[str, Any]) -> None:
        """Tell the first process why this one fails.

        Args:
            document: The error, as JSON.
        """
        with suppress(RuntimeError):  # the first process is gone
            self._store.set(_FAILURE, json.dumps({"rank": self.rank, **document}))

    def failure(self) -> Mapping[str, Any] | None:
        """Return what a process has said with `fail`; None if none does within `FAILURE_SECONDS`."""
        try:
            self._store.wait([_FAILURE], timedelta(seconds=FAILURE_SECONDS))
            document: Mapping[str, Any] = json.loads(self._store.get(_FAILURE))
        except RuntimeError:
            return None
        return document


def host_store(host: str, join_seconds: float) -> TCPStore:
    """Open the store of a training on a free port of an address of this machine.

    Args:
        host: The address.
        join_seconds: Time that the other processes have to come.
    """
    # Given a port only, the store would listen on all addresses.
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        return TCPStore(
            host,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=join_seconds),
            master_listen_fd=server.detach(),
        )


def join_store(host: str, port: int, join_seconds: float) -> TCPStore:
    """Open the store that the first process of a training hosts.

    Args:
        host: Its address.
        port: Its port.
        join_seconds: Time to wait for it.

    Raises:
        RankLost: It is gone.
    """
    timeout = timedelta(seconds=join_seconds)
    try:
        return TCPStore(host, port, is_master=False, timeout=timeout)
    except RuntimeError as error:
        raise RankLost(str(error)) from error


def _as_bytes(tensor: Tensor) -> Tensor:
    """Return a contiguous tensor as bytes, which every backend can send."""
    return tensor.reshape(-1).view(torch.uint8)
