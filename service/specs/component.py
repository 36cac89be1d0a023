"""A class or function of PyTorch by name, with its own arguments."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from service.specs.base import Spec


class ComponentSpec(Spec):
    """A class of PyTorch by name, with its own arguments beside it; a bare name means the defaults."""

    model_config = ConfigDict(extra="allow")

    type: str

    def arguments(self) -> dict[str, Any]:
        """The fields beside `type`."""
        return dict(self.model_extra or {})


def _from_name(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Component = Annotated[ComponentSpec, BeforeValidator(_from_name, json_schema_input_type=str | ComponentSpec)]
