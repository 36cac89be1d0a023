"""What a client declares about its network: layers by their torch.nn names, in containers."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_validator

from service.specs.base import Spec
from service.specs.component import Component

# A name becomes an attribute of the module and part of a parameter's name, where "." separates.
LayerName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^.]+$")]
# What a forward text can name, as `self.hidden`.
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
ClassName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^_?[A-Za-z][A-Za-z0-9_]*$")]
MAX_LAYERS = 10_000  # in one container
MAX_DEPTH = 64  # of containers in containers: each costs PyTorch several frames of Python's stack
MAX_DIMENSIONS = 8  # of a free parameter
MAX_FREE_PARAMETERS = 1_000
MAX_INPUTS = 64
LONGEST_FORWARD = 20_000  # characters


class LayerSpec(Spec):
    """One torch.nn layer: its class name and the class's own arguments beside it."""

    model_config = ConfigDict(extra="allow")

    name: LayerName | None = None
    """Unnamed layers are called by their position: `0`, `1`, …"""
    type: str
    """A class of torch.nn, e.g. `Linear`; `GET /v1/catalog` lists them with their arguments."""

    def arguments(self) -> dict[str, Any]:
        """The fields beside `name` and `type`."""
        return dict(self.model_extra or {})


class Container(Spec):
    """What holds further nodes."""

    name: LayerName | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_deep_nesting(cls, value: Any) -> Any:
        level, depth = [value], 0
        while level and depth <= MAX_DEPTH:
            level = [inner for node in level for inner in _inner(node)]
            depth += 1
        if level:
            raise ValueError(f"Containers are nested more than {MAX_DEPTH} deep.")
        return value


class SequentialSpec(Container):
    """Layers one after another: `nn.Sequential`, named as by an OrderedDict."""

    type: Literal["sequential"]
    layers: Annotated[list["Node"], Field(min_length=1, max_length=MAX_LAYERS)]


class ParameterSpec(Spec):
    """A parameter of the module itself: `self.scale = nn.Parameter(…)`."""

    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=MAX_DIMENSIONS)]
    """Its sizes; `[]` is a single number."""
    init: Component
    """How it starts: a function of torch.nn.init, e.g. `ones_` or `{"type": "normal_", "std": 0.02}`."""


class ModuleSpec(Container):
    """A subclass of `nn.Module`: submodules, and how `forward` computes with them."""

    type: Literal["module"]
    class_name: ClassName = "Module"
    """The class's name, as the module prints it."""
    submodules: Annotated[dict[Identifier, "Node"], Field(max_length=MAX_LAYERS)] = {}
    """Layers or architectures by name, in the order in which `__init__` would make them."""
    parameters: Annotated[dict[Identifier, ParameterSpec], Field(max_length=MAX_FREE_PARAMETERS)] = {}
    """Free parameters by name; made before the submodules."""
    inputs: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_INPUTS)] | None = None
    """What `forward` takes besides `self`; may be left out when it is one tensor."""
    forward: Annotated[str, Field(min_length=1, max_length=LONGEST_FORWARD)]
    """The method, or its body alone, in Python's syntax. It is read, never executed as Python."""


def _inner(node: Any) -> list[Any]:
    """What an unchecked node holds."""
    if not isinstance(node, dict):
        return []
    layers, submodules = node.get("layers"), node.get("submodules")
    return [
        *(layers if isinstance(layers, list) else []),
        *(submodules.values() if isinstance(submodules, dict) else []),
    ]


CONTAINERS: dict[str, type[Container]] = {"sequential": SequentialSpec, "module": ModuleSpec}


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return CONTAINERS.get(str(kind), LayerSpec).__name__


Node = Annotated[
    Annotated[SequentialSpec, Tag("SequentialSpec")]
    | Annotated[ModuleSpec, Tag("ModuleSpec")]
    | Annotated[LayerSpec, Tag("LayerSpec")],
    Discriminator(_kind),
]

ArchitectureSpec = Annotated[SequentialSpec | ModuleSpec, Field(discriminator="type")]

_ARCHITECTURE: TypeAdapter[SequentialSpec | ModuleSpec] = TypeAdapter(ArchitectureSpec)


def read_architecture(document: Any) -> SequentialSpec | ModuleSpec:
    """The spec of a parsed JSON document.

    Raises:
        ValidationError: when it is none.
    """
    return _ARCHITECTURE.validate_python(document)
