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


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "Linear", "out_features": 1}, 'send {"type": "sequential", "layers": [{"type": "Linear", '),
        ({"type": "linear"}, "`linear`: did you mean `Linear`?"),
        (
            {"type": "mlp"},
            '`mlp` is neither a container nor a layer; send {"type": "sequential", "layers": [{',
        ),
        ([{"type": "Tanh"}], 'send {"type": "sequential", "layers": [{"type": "Tanh"}]}'),
        ({"layers": [{"type": "Tanh"}]}, '`type` is required: write "type": "sequential".'),
        ({"forward": "return x"}, '`type` is required: write "type": "module".'),
        ({"source": "class Net(nn.Module): ..."}, '`type` is required: write "type": "class".'),
        ({"type": "Net", "source": "class Net(nn.Module): ..."}, '{"type": "class", "source": "…"}'),
        ("class Net(nn.Module): ...", '{"type": "class", "source": "…"}'),
    ],
)
def test_other_forms_are_refused_with_the_json_to_write(document: object, words: str) -> None:
    """A single layer, a list of layers, source as text, and an object without a known type."""
    with pytest.raises(ValidationError) as caught:
        read_architecture(document)
    assert words in str(caught.value)
