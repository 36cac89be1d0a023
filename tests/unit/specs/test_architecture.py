"""The architecture section."""

import pytest
from pydantic import ValidationError

from service.specs.architecture import ModuleSpec, read_architecture

MODULE = {"type": "module", "forward": "return x, x + 1"}


def test_a_module_may_name_its_outputs() -> None:
    """A module has names for the values that `forward` returns, or none."""
    spec = read_architecture({**MODULE, "outputs": ["mean", "log_var"]})
    assert isinstance(spec, ModuleSpec)
    assert spec.outputs == ["mean", "log_var"]


@pytest.mark.parametrize("names", [[], ["mean", "mean"], ["log var"]])
def test_outputs_have_distinct_names_like_variables(names: list[str]) -> None:
    """An empty list, a repeated name and a name that is no identifier are refused."""
    with pytest.raises(ValidationError, match="outputs"):
        read_architecture({**MODULE, "outputs": names})
