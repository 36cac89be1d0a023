"""Typed messages between processes: dataclasses written to and read from JSON objects."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

M = TypeVar("M")


class UnknownMessage(ValueError):
    """A message of an unknown type, or one whose fields don't fit its type."""


class Messages(Generic[M]):
    """Writes and reads the messages of one protocol.

    A message is written as a JSON object: the name of its class as `type`, beside its fields. Fields may have
    any type that pydantic can write as JSON and read again; NaN and infinite numbers are not supported.

    Args:
        types: Dataclasses with distinct names and without a field `type`; usually `M` is their union or their
            base class.

    Attributes:
        types: The classes of messages.
    """

    def __init__(self, *types: type[M]) -> None:
        self.types = types
        self._adapters: dict[str, TypeAdapter[M]] = {cls.__name__: TypeAdapter(cls) for cls in types}

    def dump(self, message: M) -> dict[str, Any]:
        """Write a message as a JSON object.

        Raises:
            UnknownMessage: The type of the message is not one of `types`.
        """
        name = type(message).__name__
        return {"type": name, **self._adapter(name).dump_python(message, mode="json", exclude_unset=True)}

    def load(self, header: Mapping[str, Any]) -> M:
        """Read a message from the JSON object that `dump` made.

        Raises:
            UnknownMessage: The type is missing or unknown, or a field is missing or of a wrong type.
        """
        adapter = self._adapter(header.get("type"))
        try:
            return adapter.validate_python({name: header[name] for name in header if name != "type"})
        except ValidationError as error:
            raise UnknownMessage(f"`{header['type']}` is malformed: {error}") from None

    def _adapter(self, name: Any) -> TypeAdapter[M]:
        if not isinstance(name, str) or name not in self._adapters:
            raise UnknownMessage(f"Unknown message `{name}`; known messages: {', '.join(self._adapters)}.")
        return self._adapters[name]
