"""The architecture section: layers by their class names in `torch.nn`, in containers."""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from typing_extensions import TypeAliasType

from service.specs.base import Spec, did_you_mean
from service.specs.component import Init
from service.specs.habits import form_advice
from service.specs.names import LAYERS, LayerType

# A layer's name is a segment of its parameters' names, which are joined with ".".
LayerName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^.]+$")]
# A name that `forward` can use, as in `self.hidden`. With two leading underscores, Python would change it.
Identifier = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^([A-Za-z]|_[A-Za-z0-9])[A-Za-z0-9_]*$")
]
# An identifier, or an entry of a list (`layers.0`) or a dict (`heads.price`).
_IDENTIFIER = r"([A-Za-z]|_[A-Za-z0-9])[A-Za-z0-9_]*"
MemberName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=rf"^{_IDENTIFIER}(\.({_IDENTIFIER}|[0-9]{{1,4}}))?$")
]
ClassName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^_?[A-Za-z][A-Za-z0-9_]*$")]
MAX_LAYERS = 3_000  # of a whole architecture, with its containers: checking one takes about a millisecond
MAX_DEPTH = 64  # of nested containers; PyTorch needs several Python stack frames for each
MAX_DIMENSIONS = 8  # of a parameter
MAX_MODULE_PARAMETERS = 1_000  # of one module, without those of its submodules
MAX_LAYER_PARAMETERS = 1_000
MAX_BUFFERS = 100  # of one module, without those of its submodules
MAX_BUFFER_CHARACTERS = 1_000
MAX_CONSTANTS = 1_000  # of one module
MAX_CONSTANT_CHARACTERS = 100
MAX_CONSTANT_INTEGER = 2**53
MAX_INPUTS = 64
MAX_OUTPUTS = 64
MAX_FORWARD_CHARACTERS = 20_000
MAX_SOURCE_CHARACTERS = 100_000  # of the text of classes
MAX_ARGUMENTS = 256


def _explain_constant(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        constant = validate(value)
        if not _has_large_integer(value):  # the alternative `float` would round it
            return constant
    except ValidationError:
        pass
    raise ValueError(
        "A constant is a number up to 2**53, a string of at most 100 characters, a boolean, null, or a list "
        "of these; write a tensor as a text in `buffers`."
    )


def _has_large_integer(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_large_integer, value))
    return isinstance(value, int) and abs(value) > MAX_CONSTANT_INTEGER


_Scalar = (
    bool
    | Annotated[int, Field(ge=-MAX_CONSTANT_INTEGER, le=MAX_CONSTANT_INTEGER)]
    | float
    | Annotated[str, Field(max_length=MAX_CONSTANT_CHARACTERS)]
    | None
)
Constant = Annotated[
    _Scalar | list[_Scalar | list[_Scalar | list[_Scalar]]],
    WrapValidator(_explain_constant),
    WithJsonSchema({}),
]


class LayerSpec(Spec):
    """A layer of `torch.nn`: the name of its class, with the arguments of the class as further fields."""

    model_config = ConfigDict(extra="allow")

    name: LayerName | None = None
    """Name of the layer in its container; the position (`0`, `1`, …) by default."""
    type: LayerType
    """Class name in `torch.nn`, e.g. `Linear`; `GET /v1/catalog/layers/{name}` has its arguments."""
    initial: Annotated[dict[str, Init], Field(max_length=MAX_LAYER_PARAMETERS)] = {}
    """Initialization of the layer's parameters by functions of `torch.nn.init`, applied in this order as soon
    as the layer is made: `{"weight": {"type": "xavier_uniform_", "gain": 1.0}, "bias": "zeros_"}`. Parameters
    that are not named keep PyTorch's initial values."""
    trainable: bool = True
    """False: the parameters keep their values (`requires_grad=False`)."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the class."""
        return dict(self.model_extra or {})


class Container(Spec):
    """Base class of the specs that contain other layers."""

    name: LayerName | None = None
    """Name of the layer in its container; the position (`0`, `1`, …) by default."""
    trainable: bool = True
    """False: all parameters in it keep their values (`requires_grad=False`)."""


class SequentialSpec(Container):
    """Layers that are applied one after another: `nn.Sequential`."""

    type: Literal["sequential"]
    layers: Annotated[list["Node"], Field(max_length=MAX_LAYERS)]
    """Layers or nested containers, in order; `[]` passes on its input, as `nn.Sequential()` does. An
    architecture has at most 3,000 layers and containers in all; each copy in a stack (`num_layers`) counts as
    one, and as ten in a stack of Transformer layers."""


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
    trainable: bool = True
    """False: it keeps its values (`requires_grad=False`)."""


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
    submodules: Annotated[dict[MemberName, "Node"], Field(max_length=MAX_LAYERS)] = {}
    """Layers or containers by attribute name, in the order in which `__init__` creates them; at most 3,000 in
    the whole architecture, counted as those of `layers`. `blocks.0`, `blocks.1`, … are the entries of an
    `nn.ModuleList`, `heads.price` is one of an `nn.ModuleDict`."""
    parameters: Annotated[dict[MemberName, ParameterSpec], Field(max_length=MAX_MODULE_PARAMETERS)] = {}
    """Parameters of the module itself by attribute name, created before the submodules. `weights.0`,
    `weights.1`, … are the entries of an `nn.ParameterList`, `weights.price` is one of an
    `nn.ParameterDict`."""
    buffers: Annotated[
        dict[Identifier, Annotated[str, Field(min_length=1, max_length=MAX_BUFFER_CHARACTERS)]],
        Field(max_length=MAX_BUFFERS),
    ] = {}
    """Tensors that are saved with the model and not trained, by attribute name: each an expression in the
    syntax of `forward`, evaluated once, as in `{"mask": "torch.tril(torch.ones(8, 8))"}`. It may read
    `constants`. Buffers are created after the parameters and before the submodules."""
    constants: Annotated[dict[Identifier, Constant], Field(max_length=MAX_CONSTANTS)] = {}
    """Numbers, strings, booleans, null and lists of these by attribute name, which `forward` and `buffers`
    read as `self.name`."""
    inputs: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_INPUTS)] | None = None
    """Names of the arguments of `forward`, without `self`. Default: those of its `def` line, otherwise the
    single name that the body reads without assigning it."""
    forward: Annotated[str, Field(min_length=1, max_length=MAX_FORWARD_CHARACTERS)]
    """The `forward` method, or only its body, in Python syntax. The service evaluates it itself, and never
    executes it as Python; `docs/forward.md` lists what it may contain."""


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
# The type that a field belongs to, for an architecture without one.
_TYPES_BY_FIELD = {"layers": "sequential", "source": "class", "forward": "module", "submodules": "module"}


def _explain_other_forms(value: Any) -> Any:
    """Refuse a single layer, a list of layers and Python code, with the JSON to send instead."""
    if isinstance(value, str):
        raise ValueError(
            f"Send the architecture as JSON, such as {_EXAMPLE}; the text of a class is sent as "
            '{"type": "class", "source": "…"}.'
        )
    if isinstance(value, dict) and "type" not in value:
        known = next((type_ for field, type_ in _TYPES_BY_FIELD.items() if field in value), None)
        if advice := f'write "type": "{known}"' if known else form_advice(value):
            raise ValueError(f"`type` is required: {advice}.")
    if isinstance(value, dict) and isinstance(value.get("source"), str) and value["type"] not in CONTAINERS:
        raise ValueError('The text of a class is sent as {"type": "class", "source": "…"}.')
    is_layer = isinstance(value, dict) and isinstance(value.get("type"), str)
    is_layer = is_layer and value["type"] not in CONTAINERS and not did_you_mean(value["type"], CONTAINERS)
    if is_layer and value["type"] not in LAYERS:
        name = value["type"]
        hint = did_you_mean(name, LAYERS) or f" is neither a container nor a layer; send {_EXAMPLE}."
        raise ValueError(f"`{name}`{hint}")
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
