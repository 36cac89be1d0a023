"""The thermometer data: readings in Celsius and in an unknown unit."""

from typing import Any

from pydantic import TypeAdapter

from service.specs.data import DataDeclaration, DataSpec

T_C = [0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0]
T_U = [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]

_DECLARATION: TypeAdapter[DataDeclaration] = TypeAdapter(DataSpec)


def declared(**section: Any) -> DataDeclaration:
    """Parse a data section."""
    return _DECLARATION.validate_python(section)


def thermometer(**changes: Any) -> dict[str, Any]:
    """Return a data section that predicts Celsius from the unknown unit, with some fields changed."""
    return {
        "columns": {"t_u": [*T_U], "t_c": [*T_C]},
        "features": ["t_u"],
        "targets": ["t_c"],
        "transforms": [{"columns": ["t_u"], "type": "scale", "factor": 0.1}],
        "split": {"validation": 0.2, "shuffle": True, "seed": 0},
        **changes,
    }
