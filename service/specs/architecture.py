"""What a client declares about its network: layers by their torch.nn names, in containers."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from service.specs.base import Spec

# A name becomes an attribute of the module and part of a parameter's name, where "." separates.
LayerName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^.]+$")]
MAX_LAYERS = 10_000  # in one container
MAX_DEPTH = 64  # of containers in containers: each costs PyTorch several frames of Python's stack


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


class SequentialSpec(Spec):
    """Layers one after another: `nn.Sequential`, named as by an OrderedDict."""

    name: LayerName | None = None
    type: Literal["sequential"]
    layers: Annotated[list["Node"], Field(min_length=1, max_length=MAX_LAYERS)]

    @model_validator(mode="before")
    @classmethod
    def _refuse_deep_nesting(cls, value: Any) -> Any:
        level, depth = [value], 0
        while level and depth <= MAX_DEPTH:
            level = [layer for node in level for layer in _layers(node)]
            depth += 1
        if level:
            raise ValueError(f"Containers are nested more than {MAX_DEPTH} deep.")
        return value


def _layers(node: Any) -> list[Any]:
    layers = node.get("layers") if isinstance(node, dict) else None
    return layers if isinstance(layers, list) else []


CONTAINERS = {"sequential": SequentialSpec}


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return CONTAINERS.get(str(kind), LayerSpec).__name__


Node = Annotated[
    Annotated[SequentialSpec, Tag("SequentialSpec")] | Annotated[LayerSpec, Tag("LayerSpec")],
    Discriminator(_kind),
]

ArchitectureSpec = SequentialSpec
