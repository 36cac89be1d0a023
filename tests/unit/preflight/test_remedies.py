"""Following the remedies of error messages leads to a valid request."""

import json
import re
from collections.abc import Callable, Iterator
from textwrap import indent
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.errors import FieldError, InvalidRequest
from service.preflight.result import PreflightResult

MAX_ROUNDS = 3
KINDS: dict[str, list[Any]] = {
    "numbers": [1, 2.5, 3, 4, 5, 6, 7, 9],
    "numbers with gaps": [1, None, 3, 4, None, 6, 7, 9],
    "numbers in strings": ["1", "2.5", "3", "4", "5", "6", "7", "9"],
    "numbers in strings with gaps": ["1", None, "3", "4", None, "6", "7", "9"],
    "numbers with a word": ["1", "-", "3", "4", "5", "6", "7", "9"],
    "decimal commas": ["1,5", "2,25", "3", "4", "5,5", "6", "7", "9"],
    "percentages": ["1%", "2%", "3.5%", "4%", "5%", "6%", "7%", "9%"],
    "money": ["$1", "$2.50", "$3", "$4", "$5", "$6", "$7", "$9"],
    "words": ["a", "b", "a", "b", "a", "b", "c", "c"],
    "words with gaps": ["a", None, "a", "b", None, "b", "c", "c"],
    "codes": ["007", "012", "007", "012", "007", "012", "090", "090"],
    "dates": ["2024-01-05", "2024-01-06", None, "2024-02-05", "2024-03-05", "2024-04-05", "2024-05-05", None],
    "slash dates": [f"1/{day}/2024" for day in (5, 6, 7, 13, 21, 22, 30, 31)],
    "booleans": [True, False, True, True, False, False, True, False],
}
TARGETS = ("numbers", "numbers with gaps", "numbers in strings", "decimal commas")

Plan = Callable[[Any], PreflightResult]


def follow(error: FieldError, request: dict[str, Any]) -> bool:
    """Change a request as the remedy of an error says; return whether it has a remedy."""
    data = request["data"]
    if found := re.search(r"put (\{[^}]*\}) before the other transforms", error.detail):
        data["transforms"].insert(0, json.loads(found[1]))
    elif found := re.search(r"add (\{[^}]*\}) to `data.transforms`", error.detail):
        data["transforms"].append(json.loads(found[1]))
    elif found := re.search(r"add `([^`]*)` to `data`", error.detail):
        for field, members in json.loads(f"{{{found[1]}}}").items():
            data[field] = {**data.get(field, {}), **members}
    return found is not None


def errors_of(plan: Plan, request: dict[str, Any]) -> Iterator[FieldError]:
    try:
        plan(request)
    except InvalidRequest as error:
        yield from error.errors


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=3), st.sampled_from(TARGETS))
def test_remedies_lead_to_a_valid_request(plan: Plan, features: list[str], target: str) -> None:
    """In at most three rounds, the remedies of all errors, in their order, make the request valid."""
    kinds = {*features, target}
    # One table has one decimal sign.
    assume("decimal commas" not in kinds or not kinds & {"numbers in strings", "percentages", "money"})
    names = [f"x{number}" for number in range(len(features))]
    request = {
        "data": {
            "columns": {
                **{name: KINDS[kind] for name, kind in zip(names, features, strict=True)},
                "y": KINDS[target],
            },
            "features": names,
            "targets": ["y"],
            "transforms": [],
        },
        "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
        "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
    }
    for _ in range(MAX_ROUNDS):
        errors = list(errors_of(plan, request))
        for error in errors:
            assert follow(error, request), error
        if not errors:
            break
    result = plan(request)
    for name, kind in zip(names, features, strict=True):  # numbers never become categories
        is_number = not {"words", "codes", "dates", "booleans"} & {*kind.split()}
        assert not is_number or result.encoding.types[name] == "numeric", kind


SCALED = "y = self.a(x) * self.scale\nself.scale = self.scale * 0.9\nreturn y"
MODULE: dict[str, Any] = {
    "type": "module",
    "submodules": {"a": {"type": "Linear", "out_features": 1}},
    "buffers": {"scale": "torch.ones(1)"},
    "forward": SCALED,
}
CLASS: dict[str, Any] = {
    "type": "class",
    "source": f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(1, 1)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
{indent(SCALED, 8 * " ")}
""",
}


@pytest.mark.parametrize(("architecture", "text"), [(MODULE, "forward"), (CLASS, "source")])
def test_a_tensor_that_is_changed_after_its_use_is_copied(
    plan: Plan, architecture: dict[str, Any], text: str
) -> None:
    """Changing in place what the backward pass needs is refused; a copy, as the message says, works."""
    request: dict[str, Any] = {
        "data": {"inputs": [[1.0], [2.0], [3.0], [4.0]], "targets": [[1.0], [2.0], [3.0], [4.0]]},
        "architecture": architecture,
        "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 1},
    }
    (detail,) = (error.detail for error in errors_of(plan, request))
    assert "Use a copy, as `.clone()` makes one" in detail
    copied = architecture[text].replace("* self.scale\n", "* self.scale.clone()\n", 1)
    assert not list(errors_of(plan, {**request, "architecture": {**architecture, text: copied}}))
