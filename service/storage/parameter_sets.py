"""Parameter sets."""

from dataclasses import dataclass, field

from sqlalchemy import select

from service import errors
from service.storage.contents import Content, ContentStore, NewContent
from service.storage.ids import new_id
from service.storage.tables import parameter_sets


@dataclass(frozen=True, kw_only=True)
class NewParameterSet(NewContent):
    """A parameter set to add; its digest is the SHA-256 of the file, in hexadecimal.

    Attributes:
        tensor_count: Number of tensors.
        tensors: Name, shape and dtype of each tensor, as JSON.
    """

    tensor_count: int
    tensors: str
    id: str = field(default_factory=lambda: new_id("par"))


@dataclass(frozen=True, kw_only=True)
class ParameterSet(Content):
    """A row of the table `parameter_sets`.

    It lacks the list of tensors, which has megabytes for a large model, and which most readers don't need.
    """

    tensor_count: int


class ParameterSetStore(ContentStore[NewParameterSet, ParameterSet]):
    """Parameter sets of all owners."""

    table = parameter_sets
    record = ParameterSet
    noun, use = "parameter set", "starts with"
    missing, in_use = errors.ParameterSetNotFound, errors.ParameterSetInUse

    def tensors(self, owner: str, parameter_set_id: str) -> str:
        """Return name, shape and dtype of each tensor, as JSON.

        Raises:
            ParameterSetNotFound: The owner has no such parameter set.
        """
        mine = parameter_sets.c.owner == owner, parameter_sets.c.id == parameter_set_id
        with self._database.read() as connection:
            tensors = connection.scalar(select(parameter_sets.c.tensors).where(*mine))
        if tensors is None:
            raise self._not_found(parameter_set_id)
        return str(tensors)
