"""The comparison of given parameters with a model."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from service.preflight.initial_parameters import check_tensors
from service.training.parameter_files import StoredTensor


def stored(model: nn.Module) -> list[StoredTensor]:
    """Return the tensors of a model's file."""
    return [
        StoredTensor(name, tuple(x.shape), str(x.dtype).removeprefix("torch."), finite=True)
        for name, x in model.state_dict().items()
    ]


def details(model: nn.Module, tensors: Sequence[StoredTensor]) -> list[str]:
    """Return what is wrong with tensors."""
    return [error.detail for error in check_tensors(model, tensors)]


def test_the_state_of_a_model_is_accepted() -> None:
    """Parameters and buffers of the model are accepted in any order, on the meta device."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert details(model.to("meta"), stored(model)[::-1]) == []


def test_buffers_are_required() -> None:
    """A file of the parameters alone lacks the statistics of a batch norm."""
    model = nn.BatchNorm1d(3)
    assert details(model, [each for each in stored(model) if each.name in ("weight", "bias")]) == [
        "`running_mean` is missing; in the model it is float32 [3].",
        "`running_var` is missing; in the model it is float32 [3].",
        "`num_batches_tracked` is missing; in the model it is int64 [].",
    ]


def test_a_tied_parameter_has_all_its_names() -> None:
    """For a parameter that is missing under one of its names, the error says so."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert details(model, stored(model)[:1]) == [
        "`1.weight` is missing; in the model it is float32 [2, 2]. It is the same parameter as `0.weight`; "
        "send it under both names."
    ]


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "0."])
def test_the_prefix_of_a_wrapper_is_one_error(prefix: str) -> None:
    """All names with a wrapper's prefix get one error that says what to remove, besides other differences."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    wrapped = [replace(each, name=prefix + each.name) for each in stored(model)]
    assert details(model, wrapped) == [
        f"All names begin with `{prefix}`, which a wrapper such as `nn.DataParallel` adds; those of the "
        f'model do not. Remove it from the names, as by `name.removeprefix("{prefix}")`.'
    ]
    assert details(model, wrapped[1:])[1:] == ["`0.weight` is missing; in the model it is float32 [3, 2]."]


def test_other_names_are_listed() -> None:
    """Names that no prefix explains, or only some of which have it, are errors of their own."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    others = [replace(each, name=f"module.{each.name}s") for each in stored(model)]
    assert len(details(model, others)) == 4
    assert len(details(model, [*stored(model)[:1], replace(stored(model)[1], name="0.1.weight")])) == 2


def test_infinite_values_belong_to_buffers() -> None:
    """A buffer may have infinite values, such as a mask; a parameter may not."""
    model = nn.Module()
    model.register_buffer("mask", torch.zeros(2))
    model.register_parameter("scale", nn.Parameter(torch.zeros(2)))
    tensors = [StoredTensor(name, (2,), "float32", finite=False) for name in ("mask", "scale")]
    assert details(model, tensors) == ["`scale` has infinite values, with which no training can start."]


def test_all_differences_are_counted() -> None:
    """The first hundred differences are listed, all are counted, and each takes little time."""
    tensors = [StoredTensor(f"layers.{number}.weight", (2,), "float32", True) for number in range(100_000)]
    errors = check_tensors(nn.Linear(1, 1), tensors)
    assert (len(errors.listed), errors.count) == (100, 100_002)
