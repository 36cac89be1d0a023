"""References to PyTorch's classes and functions, with their arguments."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from typing_extensions import TypeAliasType

from service.specs.base import Spec
from service.specs.names import InitName, LossName, MetricName, OptimizerName, SchedulerName

# An output may be a key of a dict, or have the names of nested values, as in `hidden.0`.
OutputName = Annotated[str, Field(min_length=1, max_length=1024)]


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
    output: OutputName | None = None
    """Name of the output of the model that is compared with the targets. Null: the first one."""
    var: OutputName | None = None
    """Name of the output of variances, for `GaussianNLLLoss` only."""

    def without(self, argument: str) -> "LossSpec":
        """Return the loss with an argument at its default."""
        fields = self.model_dump(exclude_unset=True)
        return LossSpec(**{name: value for name, value in fields.items() if name != argument})


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
    output: OutputName | None = None
    """Name of the output of the model that is compared with the targets: the metric is then called
    `<type>_<output>`. Null: the output of the loss."""

    @property
    def name(self) -> str:
        """Name of its values in the history: the type, and the output if one is named."""
        return self.type if self.output is None else f"{self.type}_{self.output}"


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
