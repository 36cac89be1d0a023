"""The architecture section: layers by their class names in `torch.nn`, in containers."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter
from typing_extensions import TypeAliasType

from service.specs.base import Spec, did_you_mean
from service.specs.component import Init
from service.specs.habits import form_advice
from service.specs.names import LayerType

# A layer's name is a segment of its parameters' names, which are joined with ".".
LayerName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^.]+$")]
# A name that `forward` can use, as in `self.hidden`.
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
ClassName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^_?[A-Za-z][A-Za-z0-9_]*$")]
MAX_LAYERS = 3_000  # of a whole architecture, with its containers: checking one takes about a millisecond
MAX_DEPTH = 64  # of nested containers; PyTorch needs several Python stack frames for each
MAX_DIMENSIONS = 8  # of a parameter
MAX_MODULE_PARAMETERS = 1_000  # of one module, without those of its submodules
MAX_INPUTS = 64
MAX_OUTPUTS = 64
MAX_FORWARD_CHARACTERS = 20_000
MAX_SOURCE_CHARACTERS = 100_000  # of the text of classes
MAX_ARGUMENTS = 256


class LayerSpec(Spec):
    """A layer of `torch.nn`: the name of its class, with the arguments of the class as further fields."""

    model_config = ConfigDict(extra="allow")

    name: LayerName | None = None
    """Name of the layer in its container; the position (`0`, `1`, …) by default."""
    type: LayerType
    """Class name in `torch.nn`, e.g. `Linear`; `GET /v1/catalog/layers/{name}` has its arguments."""

    def arguments(self) -> dict[str, Any]:
        """Return the fields other than `name` and `type`."""
        return dict(self.model_extra or {})


class Container(Spec):
    """Base class of the specs that contain other layers."""

    name: LayerName | None = None
    """Name of the layer in its container; the position (`0`, `1`, …) by default."""


class SequentialSpec(Container):
    """Layers that are applied one after another: `nn.Sequential`."""

    type: Literal["sequential"]
    layers: Annotated[list["Node"], Field(min_length=1, max_length=MAX_LAYERS)]
    """Layers or nested containers, in order. An architecture has at most 3,000 layers and containers in all;
    each copy in a stack (`num_layers`) counts as one, and as ten in a stack of Transformer layers."""


def _refuse_repeated(names: list[str]) -> list[str]:
    repeated = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if repeated is not None:
        raise ValueError(f"`{repeated}` appears twice; each output needs a name of its own.")
    return names


class ParameterSpec(Spec):
    """A parameter of a module itself: `self.scale = nn.Parameter(…)`."""

    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=MAX_DIMENSIONS)]
    """Size of each dimension; `[]` for a scalar."""
    init: Init
    """Initialization: a function of `torch.nn.init`, e.g. `ones_` or `{"type": "normal_", "std": 0.02}`."""


class ForwardSpec(Container):
    """Base class of the specs with a `forward` method, which may return several outputs."""

    outputs: (
        Annotated[
            list[Identifier],
            Field(min_length=1, max_length=MAX_OUTPUTS, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_refuse_repeated),
        ]
        | None
    ) = None
    """Names of the values that `forward` returns in a tuple or list, in order, or the keys of the dict that
    it returns. Values of nested tuples are named by their position, as in `hidden.0`. Null: the keys of a
    dict; otherwise the positions `0`, `1`, … of several values, and `output` of a single one."""


class ModuleSpec(ForwardSpec):
    """A subclass of `nn.Module`: its submodules, and a `forward` method that calls them."""

    type: Literal["module"]
    class_name: ClassName = "Module"
    """Name of the class, used when the module is printed and in exported source."""
    submodules: Annotated[dict[Identifier, "Node"], Field(max_length=MAX_LAYERS)] = {}
    """Layers or containers by attribute name, in the order in which `__init__` creates them; at most 3,000 in
    the whole architecture, counted as those of `layers`."""
    parameters: Annotated[dict[Identifier, ParameterSpec], Field(max_length=MAX_MODULE_PARAMETERS)] = {}
    """Parameters of the module itself by attribute name, created before the submodules."""
    inputs: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_INPUTS)] | None = None
    """Names of the arguments of `forward`, without `self`. Default: those of its `def` line, otherwise the
    single name that the body reads without assigning it."""
    forward: Annotated[str, Field(min_length=1, max_length=MAX_FORWARD_CHARACTERS)]
    """The `forward` method, or only its body, in Python syntax. It is parsed by a closed grammar and never
    executed as Python."""


class ClassSpec(ForwardSpec):
    """A class derived from `nn.Module`, as the text of its source: nothing of it is executed as Python."""

    type: Literal["class"]
    source: Annotated[str, Field(min_length=1, max_length=MAX_SOURCE_CHARACTERS)]
    """Text of one or more classes, with the functions and constants that they use. It is parsed by a closed
    grammar and evaluated by the service itself; `docs/reference/classes.md` lists what it may contain."""
    class_name: ClassName | None = None
    """Name of the model's class; null: the last class of the text that is derived from `nn.Module`."""
    arguments: Annotated[dict[Identifier, Any], Field(max_length=MAX_ARGUMENTS)] = {}
    """Arguments of `__init__` by name. An object can be read by key and by attribute (`config.n_head`)."""
    inputs: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_INPUTS)] | None = None
    """Parameters of `forward` that are inputs, in order. Null: those without a default value, and those with
    one that the data names."""


def _children(node: Any) -> list[Any]:
    """Return the nodes inside a node that has not been validated yet."""
    if not isinstance(node, dict):
        return []
    layers, submodules = node.get("layers"), node.get("submodules")
    return [
        *(layers if isinstance(layers, list) else []),
        *(submodules.values() if isinstance(submodules, dict) else []),
    ]


CONTAINERS: dict[str, type[Container]] = {
    "sequential": SequentialSpec,
    "module": ModuleSpec,
    "class": ClassSpec,
}


def _node_tag(value: Any) -> str:
    type_ = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return CONTAINERS.get(str(type_), LayerSpec).__name__


Node = TypeAliasType(
    "Node",
    Annotated[
        Annotated[SequentialSpec, Tag("SequentialSpec")]
        | Annotated[ModuleSpec, Tag("ModuleSpec")]
        | Annotated[ClassSpec, Tag("ClassSpec")]
        | Annotated[LayerSpec, Tag("LayerSpec")],
        Discriminator(_node_tag),
        Field(description="A layer, or a container of layers: the `type` determines the other fields."),
    ],
)

_EXAMPLE = '{"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]}'
_MAX_QUOTED_CHARACTERS = 200


def _explain_other_forms(value: Any) -> Any:
    """Refuse a single layer, a list of layers and Python code, with the JSON to send instead."""
    if isinstance(value, str):
        raise ValueError(
            f"Send the architecture as JSON, such as {_EXAMPLE}; the text of a class is sent as "
            '{"type": "class", "source": "…"}.'
        )
    if isinstance(value, dict) and "type" not in value and (advice := form_advice(value)):
        raise ValueError(f"`type` is required: {advice}.")
    is_layer = isinstance(value, dict) and isinstance(value.get("type"), str)
    is_layer = is_layer and value["type"] not in CONTAINERS and not did_you_mean(value["type"], CONTAINERS)
    if is_layer or isinstance(value, list):
        found = "a list of layers" if isinstance(value, list) else f"the layer `{value['type']}`"
        layers = json.dumps([value] if is_layer else value)
        shown = layers if len(layers) <= _MAX_QUOTED_CHARACTERS else "[…]"
        raise ValueError(f'This is {found}; send {{"type": "sequential", "layers": {shown}}}.')
    return value


def _refuse_deep_nesting(value: Any) -> Any:
    # Level by level instead of by recursion, which a hostile document could exhaust.
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        level = [child for node in level for child in _children(node)]
        depth += 1
    if level:
        raise ValueError(f"Containers are nested more than {MAX_DEPTH} deep.")
    return value


ArchitectureSpec = TypeAliasType(
    "ArchitectureSpec",
    Annotated[
        SequentialSpec | ModuleSpec | ClassSpec,
        Field(discriminator="type", description="A model: the `type` determines the other fields."),
        BeforeValidator(_explain_other_forms),
        BeforeValidator(_refuse_deep_nesting),
    ],
)

_ARCHITECTURE: TypeAdapter[SequentialSpec | ModuleSpec | ClassSpec] = TypeAdapter(ArchitectureSpec)


def read_architecture(document: Any) -> SequentialSpec | ModuleSpec | ClassSpec:
    """Validate an architecture.

    Args:
        document: The architecture as parsed JSON.

    Raises:
        ValidationError: The document is not a valid architecture.
    """
    return _ARCHITECTURE.validate_python(document)
