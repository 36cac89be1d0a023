"""References to PyTorch's classes and functions, with their arguments."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict
from typing_extensions import TypeAliasType

from service.specs.base import Spec
from service.specs.names import InitName, LossName, MetricName, OptimizerName, SchedulerName


class ComponentSpec(Spec):
    """A class or function of PyTorch: its name, with its arguments as further fields.

    A string is the name alone, with all arguments at their defaults: `"Adam"` means `{"type": "Adam"}`.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    """Name of the class or function."""

    def arguments(self) -> dict[str, Any]:
        """Return the fields other than `type`."""
        return dict(self.model_extra or {})


class LossSpec(ComponentSpec):
    """A loss: its name, with its arguments as further fields, as in `{"type": "HuberLoss", "delta": 2}`."""

    type: LossName
    """Name of the loss; `GET /v1/catalog/losses/{name}` has its arguments."""


class OptimizerSpec(ComponentSpec):
    """An optimizer: its name, with its arguments as further fields, as in `{"type": "SGD", "lr": 0.01}`."""

    type: OptimizerName
    """Name of the optimizer; `GET /v1/catalog/optimizers/{name}` has its arguments."""


class SchedulerSpec(ComponentSpec):
    """A learning rate scheduler: its name, with its arguments as further fields."""

    type: SchedulerName
    """Name of the scheduler; `GET /v1/catalog/schedulers/{name}` has its arguments."""


class MetricSpec(ComponentSpec):
    """A metric: its name, with its arguments as further fields."""

    type: MetricName
    """Name of the metric; `GET /v1/catalog/metrics/{name}` has its arguments for each task."""


class InitSpec(ComponentSpec):
    """An initialization: its name, with its arguments as further fields."""

    type: InitName
    """Name of the function; `GET /v1/catalog/inits/{name}` has its arguments."""


def _from_name(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


# Either the name alone or an object; each has a name in the published schema.
Loss = TypeAliasType(
    "Loss", Annotated[LossSpec, BeforeValidator(_from_name, json_schema_input_type=LossName | LossSpec)]
)
Optimizer = TypeAliasType(
    "Optimizer",
    Annotated[
        OptimizerSpec, BeforeValidator(_from_name, json_schema_input_type=OptimizerName | OptimizerSpec)
    ],
)
Scheduler = TypeAliasType(
    "Scheduler",
    Annotated[
        SchedulerSpec, BeforeValidator(_from_name, json_schema_input_type=SchedulerName | SchedulerSpec)
    ],
)
Metric = TypeAliasType(
    "Metric",
    Annotated[MetricSpec, BeforeValidator(_from_name, json_schema_input_type=MetricName | MetricSpec)],
)
Init = TypeAliasType(
    "Init", Annotated[InitSpec, BeforeValidator(_from_name, json_schema_input_type=InitName | InitSpec)]
)
