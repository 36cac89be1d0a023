"""References to PyTorch's classes and functions, with their arguments."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from service.specs.base import Spec


class ComponentSpec(Spec):
    """A class or function of PyTorch: its name, with its arguments as further fields.

    A string is the name alone, with all arguments at their defaults: `"Adam"` means `{"type": "Adam"}`.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    """Name of the class or function, e.g. `Adam`; `GET /v1/catalog` lists the names and their arguments."""

    def arguments(self) -> dict[str, Any]:
        """Return the fields other than `type`."""
        return dict(self.model_extra or {})


def _from_name(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Component = Annotated[ComponentSpec, BeforeValidator(_from_name, json_schema_input_type=str | ComponentSpec)]
