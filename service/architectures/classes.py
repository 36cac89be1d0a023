"""Models that are declared by the text of a class."""

import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from service.architectures.text.evaluation import Observer
from service.architectures.text.program import Program, Signature, UnknownClass, read_program
from service.errors import FieldErrors, pointer_to
from service.specs.architecture import ClassSpec
from service.specs.base import did_you_mean, list_names

# As `Identifier` in the specs, which names classes and inputs of jobs.
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9_]{0,126}")


def class_errors(spec: ClassSpec, pointer: str) -> FieldErrors:
    """Find the errors that can be seen in the text without evaluating it.

    Args:
        spec: The class.
        pointer: Its JSON pointer in the request.
    """
    errors = FieldErrors()
    program, found = read_program(spec.source, spec.class_name)
    for error in found:
        if isinstance(error, UnknownClass):
            errors.add(pointer_to(pointer, "class_name"), error.remedy)
        else:
            errors.add(pointer_to(pointer, "source"), error.__str__)
    if program is None:
        return errors
    names = [program.class_name, *(program.inputs.names if program.inputs else ())]
    for name in names:
        if not _NAME.fullmatch(name):
            detail = (
                f"`{name}` is the name of the class or of an input, which is at most 128 ASCII letters, "
                "digits and underscores; rename it."
            )
            errors.add(pointer_to(pointer, "source"), detail)
    if program.inputs is None:
        detail = f"The class `{program.class_name}` has no `forward` with inputs; define it."
        errors.add(pointer_to(pointer, "source"), detail)
    elif not program.inputs.is_variadic:
        _compare("inputs", spec.inputs, program.inputs, "forward", pointer, errors)
    if program.arguments is not None:
        _compare("arguments", spec.arguments, program.arguments, "__init__", pointer, errors)
    return errors


def _compare(
    field: str,
    given: Collection[str] | None,
    signature: Signature,
    method: str,
    pointer: str,
    errors: FieldErrors,
) -> None:
    """Compare the names in a field of the spec with the parameters of a method; None gives no names."""
    if given is None:
        return
    for position, name in enumerate(given):
        if isinstance(given, Sequence) and name in given[:position]:
            errors.add(pointer_to(pointer, field, position), f"`{name}` appears twice; give it once.")
        if name not in signature.names and not signature.takes_further:
            hint = did_you_mean(name, signature.names) or (
                f" is not a parameter of `{method}`, which has {list_names(signature.names) or 'none'}."
            )
            key = name if isinstance(given, Mapping) else position
            errors.add(pointer_to(pointer, field, key), f"`{name}`{hint}")
    missing = [f"`{name}`" for name in signature.required if name not in given]
    if missing:
        detail = f"`{method}` needs {list_names(missing)}, which has no default value; add it."
        errors.add(pointer_to(pointer, field), detail)


def class_inputs(spec: ClassSpec, available: Collection[str]) -> tuple[str, ...] | None:
    """Return the names of the inputs of a class; None if its text has errors.

    Args:
        spec: The class.
        available: Names of the inputs that the data has.
    """
    if spec.inputs is not None:
        return tuple(spec.inputs)
    program, _ = read_program(spec.source, spec.class_name)
    if program is None or program.inputs is None:
        return None
    inputs = program.inputs
    if inputs.is_variadic and not inputs.required:
        return tuple(available)
    return (*inputs.required, *(name for name in inputs.optional if name in available))


def program_of(spec: ClassSpec) -> Program:
    """Return the program of a class without errors.

    Raises:
        ValueError: If the text has errors; `class_errors` reports them with their locations.
    """
    program, _ = read_program(spec.source, spec.class_name)
    if program is None:
        raise ValueError("The text has errors; check the spec before building it.")
    return program


def construct(spec: ClassSpec, observer: Observer | None = None) -> nn.Module:
    """Construct the model, with PyTorch's initial values from the global generator.

    On the meta device (`torch.device("meta")` as the default), layers have no values.

    Args:
        spec: The class.
        observer: Observes the operations of forward passes, if any.

    Raises:
        ForwardError: If an operation fails, with its location in the text.
    """
    on_meta = torch.get_default_device().type == "meta"
    return program_of(spec).construct(spec.arguments, spec.inputs, is_check=on_meta, observer=observer)
