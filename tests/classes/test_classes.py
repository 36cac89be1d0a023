"""Pasted classes are what the same texts are as Python: print, names, values, outputs and training."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.outputs import OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.history import LOSS_COLUMNS, HistoryChunk
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.components import Components
from service.training.engines.candidate import Candidate
from service.training.engines.compiled.eligibility import objections
from service.training.engines.compiled.engine import CompiledEngine
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.compiled.work import work_of
from service.training.engines.eager.engine import EagerEngine
from tests.classes.cases import CASES, ROWS, SOURCES, Case
from tests.classes.plain import plain_fit, run_as_python, tensors_of
from tests.support.toys import column, run

TRAIN_LOSS, VALIDATION_LOSS, _ = LOSS_COLUMNS
EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 2, 2, 0.05, 3
TRAINING_ROWS = 4
PASSES = 1.0, 0.5, -1.0  # the first is evaluated, the second recorded, the third replayed
# The others take a second each to compile.
COMPILED = frozenset({"mnist_mlp", "nbeats", "actor_critic", "frozen_backbone", "tcn"})
# PyTorch warns of its own older functions, and of options without an effect.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def constructed(case: Case) -> nn.Module:
    """Construct the model of a case as a job does."""
    torch.manual_seed(SEED)
    return build(read_architecture(case.spec))


def expected(case: Case) -> nn.Module:
    """Construct the model of a case by Python."""
    torch.manual_seed(SEED)
    return run_as_python(case)


def seeded(model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Return the outputs of a model, for a seed of dropout."""
    torch.manual_seed(SEED)
    return list(tensors_of(model(*inputs)))


def assert_equal_tensors(found: list[Tensor], wanted: list[Tensor]) -> None:
    """Assert that tensors are equal, bit for bit."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_each_text_has_a_case() -> None:
    """The table has the texts of the folder, and more than fifty."""
    assert sorted(case.name for case in CASES) == sorted(path.stem for path in SOURCES.glob("*.py"))
    assert len(CASES) > 50


@by_name
def test_a_class_is_that_of_python(case: Case) -> None:
    """A class has the print, names, initial values, outputs and gradients of the text run as Python."""
    model, wanted = constructed(case), expected(case)
    assert repr(model) == repr(wanted)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in wanted.named_parameters()]
    assert [each.requires_grad for each in model.parameters()] == [
        each.requires_grad for each in wanted.parameters()
    ]
    assert [name for name, _ in model.named_buffers()] == [name for name, _ in wanted.named_buffers()]
    assert list(model.state_dict()) == list(wanted.state_dict())
    assert_equal_tensors(list(model.parameters()), list(wanted.parameters()))
    assert_equal_tensors(list(model.buffers()), list(wanted.buffers()))

    for factor in PASSES:
        inputs = [x * factor if x.is_floating_point() else x for x in case.tensors()]
        outputs, others = seeded(model, inputs), seeded(wanted, inputs)
        assert_equal_tensors(outputs, others)
        for each in (outputs, others):
            torch.stack([output.sum() for output in each]).sum().backward()
        for parameter, other in zip(model.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=0)
    for _ in PASSES:
        assert_equal_tensors(seeded(model.eval(), inputs), seeded(wanted.eval(), inputs))
    assert_equal_tensors(list(model.buffers()), list(wanted.buffers()))
    wanted.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(wanted.state_dict(), strict=True)


@dataclass(frozen=True)
class Fit:
    """A training of a case.

    Attributes:
        checked: Its model on the meta device.
        data: Its rows: the first are for training, the others for validation.
        components: Its components before the first step.
    """

    checked: CheckedArchitecture
    data: Prepared
    components: Components


def fit(case: Case) -> Fit:
    """Check a case and assemble a training with random targets for its first output."""
    inputs = case.tensors()
    checked = check(read_architecture(case.spec), inputs, 10**6)
    architecture = read_architecture(checked.spec)
    shape = next(iter(checked.outputs.values())).shape[1:]
    targets = torch.rand(ROWS, *shape, generator=torch.Generator().manual_seed(SEED))
    rows = slice(0, TRAINING_ROWS), slice(TRAINING_ROWS, ROWS)
    train, validation = (Samples(tuple(x[each] for x in inputs), targets[each]) for each in rows)
    dtypes = tuple("float32" if x.is_floating_point() else "int64" for x in inputs)
    names = tuple(checked.spec["inputs"])
    encoding = Encoding(names, tuple(tuple(x.shape[1:]) for x in inputs), tuple(shape), dtypes=dtypes)
    data = Prepared(train, validation, None, encoding)
    spec = TrainingSpec.model_validate(
        {
            **{"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": LEARNING_RATE}, "epochs": EPOCHS},
            **{"batch_size": BATCH_SIZE, "shuffle": False, "seed": SEED},
        }
    )
    layout = OutputLayout.of(architecture, checked.outputs)
    components = assemble(architecture, spec, data, layout, torch.device("cpu"), "float32")
    return Fit(checked, data, components)


@by_name
def test_the_check_of_a_class_gives_its_shapes(case: Case) -> None:
    """The check on the meta device accepts the class, and reports its outputs and parameters."""
    inputs = case.tensors()
    checked = check(read_architecture(case.spec), inputs, 10**6)
    model = constructed(case)
    outputs = [output for output in seeded(model, inputs) if output.shape[:1] == (ROWS,)]
    assert [each.shape[1:] for each in checked.outputs.values()] == [each.shape[1:] for each in outputs]
    assert checked.parameter_count == sum(parameter.numel() for parameter in model.parameters())
    assert check(read_architecture(checked.spec), inputs, 10**6).spec == checked.spec


@by_name
def test_a_class_trains_as_in_a_plain_loop(case: Case) -> None:
    """History, parameters and buffers of a training equal those of a loop around the text run as Python."""
    training = fit(case)
    trainer = EagerEngine(training.components)
    history = run(trainer)
    wanted = expected(case)
    assert training.data.validation is not None
    losses = plain_fit(
        wanted, training.data.train, training.data.validation, EPOCHS, BATCH_SIZE, LEARNING_RATE
    )
    found = zip(column(history, TRAIN_LOSS), column(history, VALIDATION_LOSS), strict=True)
    assert list(found) == losses
    state = trainer.checkpoint().last.state
    assert list(state) == list(wanted.state_dict())
    assert_equal_tensors(list(state.values()), list(wanted.state_dict().values()))


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> ProgramCache:
    """Make a cache of programs, as a worker has one."""
    return ProgramCache()


def reasons(training: Fit) -> list[str]:
    """Return the reasons for which a training cannot be compiled."""
    parts = training.components
    candidate = Candidate(
        key=parts.program_key,
        model=training.checked.module,
        loss_fn=parts.loss_fn,
        spec=parts.spec,
        batch=parts.train.take(slice(0, BATCH_SIZE)).to(torch.device("meta")),
        roles=parts.roles,
        on_gpu=False,
        calls=len(training.checked.layers),
        data_bytes=0,
    )
    found = [error.detail for error in objections(candidate)]
    return found or list(work_of(candidate).missing)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in COMPILED else pytest.mark.exhaustive, id=case.name)
        for case in CASES
    ],
)
def test_a_class_is_compiled_or_refused(case: Case, programs: ProgramCache) -> None:
    """The compiled engine trains a class like the eager one, or says what it does not support."""
    training = fit(case)
    if refused := reasons(training):
        assert all(refused)
        assert case.name not in COMPILED
        return
    compiled: HistoryChunk = run(CompiledEngine(training.components, programs))
    eager = run(EagerEngine(fit(case).components))
    for name in (TRAIN_LOSS, VALIDATION_LOSS):
        assert column(compiled, name) == pytest.approx(column(eager, name), rel=1e-3, abs=1e-6)
