"""The outputs of a model by name, whatever its `forward` returns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from torch import Tensor

from service.errors import FieldError, pointer_to
from service.specs.architecture import MAX_OUTPUTS, ArchitectureSpec, ClassSpec, ForwardSpec
from service.specs.base import did_you_mean, list_names

OUTPUT = "output"
"""Name of a single output."""
REPORTED_OUTPUTS = "outputs"
"""Entry of a job's report: name and shape of each output."""
_MAX_DEPTH = 16  # of tuples in tuples


class UnnamedOutput(Exception):
    """A model returns something that has no outputs by name.

    Attributes:
        field: Field of the spec that is wrong: `outputs` or `forward`.
        detail: What is wrong, as a sentence.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


def named_outputs(result: Any, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Name the tensors that a model returns, in their order.

    A single tensor is called `output`. Values of a tuple or list are called by their positions and values of
    a dict by their keys, unless `names` says otherwise; those of nested ones by all of these, as in `1.0`.
    None is left out. Names are distinct.

    Args:
        result: The value that `forward` returns.
        names: Names of the outermost values: of a dict, its keys, in the order of the outputs.

    Raises:
        UnnamedOutput: The names don't fit, two tensors have the same one, or a value is no tensor.
    """
    if isinstance(result, Tensor):
        if names is not None and len(names) != 1:
            raise UnnamedOutput("outputs", f"`forward` returns one tensor, and `outputs` names {len(names)}.")
        return {OUTPUT if names is None else names[0]: result}
    if not isinstance(result, tuple | list | dict):
        raise UnnamedOutput("forward", f"The architecture returns a {type(result).__name__}; {_NEEDED}.")
    outputs: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for name, place, tensor in _tensors(_entries(result) if names is None else _renamed(result, names)):
        if name in outputs:
            field = "forward" if names is None or isinstance(result, dict) else "outputs"
            detail = (
                f"Two outputs are called `{name}`: `{places[name]}` and `{place}` of what `forward` returns. "
                "Use other names, so that each output has its own."
            )
            raise UnnamedOutput(field, detail)
        outputs[name], places[name] = tensor, place
    if not outputs:
        raise UnnamedOutput("forward", f"The architecture returns no tensor; {_NEEDED}.")
    if len(outputs) > MAX_OUTPUTS:
        detail = f"The architecture returns {len(outputs):,} tensors; at most {MAX_OUTPUTS} are allowed."
        raise UnnamedOutput("forward", detail)
    return outputs


_NEEDED = "it must return a tensor, or a tuple, list or dict of tensors"


class _Entry(NamedTuple):
    """A value of a tuple, list or dict: its name, and its place in Python's notation, as in `[1]["mean"]`."""

    name: str
    place: str
    value: Any


def _entries(values: Any) -> list[_Entry]:
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return [_Entry(str(key), f"[{key!r}]", value) for key, value in pairs]


def _renamed(values: Any, names: Sequence[str]) -> list[_Entry]:
    entries = _entries(values)
    if not isinstance(values, dict):
        if len(values) != len(names):
            detail = f"`forward` returns {len(values)} values, and `outputs` names {len(names)}."
            raise UnnamedOutput("outputs", detail)
        return [entry._replace(name=name) for name, entry in zip(names, entries, strict=True)]
    keys = dict.fromkeys(entry.name for entry in entries)
    for name in names:
        if name not in keys:
            hint = did_you_mean(name, keys) or f"; its keys are {list_names(keys)}."
            raise UnnamedOutput("outputs", f"`forward` returns a dict without the key `{name}`{hint}")
    if len(names) < len(keys):
        missing = list_names([key for key in keys if key not in names])
        raise UnnamedOutput("outputs", f"`outputs` lacks keys of the dict that `forward` returns: {missing}.")
    return sorted(entries, key=lambda entry: names.index(entry.name))


def _tensors(entries: Iterable[_Entry], depth: int = 0) -> Iterator[tuple[str, str, Tensor]]:
    """Iterate over name, place and tensor, also of nested values."""
    for name, place, value in entries:
        if isinstance(value, Tensor):
            yield name, place, value
        elif isinstance(value, tuple | list | dict) and depth < _MAX_DEPTH:
            inner = (
                _Entry(f"{name}.{each.name}", place + each.place, each.value) for each in _entries(value)
            )
            yield from _tensors(inner, depth + 1)
        elif value is not None:
            detail = f"The architecture returns a {type(value).__name__} as output `{name}`; {_NEEDED}."
            raise UnnamedOutput("forward", detail)


@dataclass(frozen=True)
class OutputLayout:
    """The outputs of a model that have an entry for each sample.

    Others, such as hidden states [layers, B, …], take no part in losses and predictions.

    Attributes:
        shapes: Shape of each output by its name, without the batch dimension.
        declared: Names that the spec gives to what `forward` returns; None without them.
    """

    shapes: Mapping[str, tuple[int, ...]]
    declared: tuple[str, ...] | None = None

    @classmethod
    def of(cls, spec: ArchitectureSpec, outputs: Mapping[str, Tensor]) -> Self:
        """Return the layout of a model with some outputs [B, …]."""
        return cls({name: tuple(tensor.shape[1:]) for name, tensor in outputs.items()}, declared_names(spec))

    @classmethod
    def from_report(cls, spec: ArchitectureSpec, report: Mapping[str, Any]) -> Self:
        """Return the layout of the model of a job, from its report; earlier ones have one output."""
        listed = report.get(REPORTED_OUTPUTS) or [{"name": OUTPUT, "shape": [None, report["output_width"]]}]
        return cls({each["name"]: tuple(each["shape"][1:]) for each in listed}, declared_names(spec))

    def document(self) -> list[dict[str, Any]]:
        """Return the entry of a job's report."""
        return [{"name": name, "shape": [None, *shape]} for name, shape in self.shapes.items()]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self.shapes)

    @property
    def is_single(self) -> bool:
        """Whether there is one output."""
        return len(self.shapes) == 1

    def width(self, name: str) -> int:
        """Return the size of an output [B, k, …] in dimension 1; 1 for [B]."""
        return (*self.shapes[name], 1)[0]

    def named(self, result: Any) -> dict[str, Tensor]:
        """Return the outputs [B, …] by name, of what the model returns."""
        if isinstance(result, Tensor):
            return dict.fromkeys(self.shapes, result)
        outputs = named_outputs(result, self.declared)
        return {name: outputs[name] for name in self.shapes}


def declared_names(spec: ArchitectureSpec) -> tuple[str, ...] | None:
    """Return the names that a spec gives to what its `forward` returns; None without them."""
    return None if not isinstance(spec, ForwardSpec) or spec.outputs is None else tuple(spec.outputs)


def unnamed_error(error: UnnamedOutput, spec: ArchitectureSpec, pointer: str) -> FieldError:
    """Return the error of an architecture at a pointer, or at its field that is wrong."""
    field = "source" if error.field == "forward" and isinstance(spec, ClassSpec) else error.field
    return FieldError(pointer_to(pointer, field) if isinstance(spec, ForwardSpec) else pointer, error.detail)
