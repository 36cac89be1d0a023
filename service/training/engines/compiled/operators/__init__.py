"""ATen's operators in JAX: what a traced step may consist of.

A row's name is the operator's, with its overload where that isn't `default`. Its function takes what the
operator takes, by PyTorch's schema, arrays in the place of tensors. The dtype and the shape of a result are
not a row's to get right to the last rule of promotion: the translation casts to what the trace has seen.
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
