"""Table of the ATen operators that a traced step may contain, implemented in JAX.

A key is the name of the operator, with its overload unless that is `default`. A function has the parameters
of the operator's schema in PyTorch, with arrays for tensors. It need not follow PyTorch's type promotion: the
translation casts each result to the dtype that was traced.
"""

from collections.abc import Callable, Mapping
from typing import Any

from service.training.engines.compiled.operators.convolution import CONVOLUTION
from service.training.engines.compiled.operators.creation import CREATION
from service.training.engines.compiled.operators.elementwise import ELEMENTWISE
from service.training.engines.compiled.operators.indexing import INDEXING
from service.training.engines.compiled.operators.linear_algebra import LINEAR_ALGEBRA
from service.training.engines.compiled.operators.pooling import POOLING
from service.training.engines.compiled.operators.reduction import REDUCTION
from service.training.engines.compiled.operators.shape import SHAPE

OPERATORS: Mapping[str, Callable[..., Any]] = {
    **CONVOLUTION,
    **CREATION,
    **ELEMENTWISE,
    **INDEXING,
    **LINEAR_ALGEBRA,
    **POOLING,
    **REDUCTION,
    **SHAPE,
}
