"""Table of the ATen operators that a traced step may contain, implemented in JAX.

A key is the name of the operator, with its overload unless that is `default`. A function has the parameters
of the operator's schema in PyTorch, with arrays for tensors. It need not follow PyTorch's type promotion: the
translation casts each result to the dtype that was traced.
"""

from collections.abc import Callable, Mapping
from typing import Any

from service.training.engines.compiled.operators.convolution import CONVOLUTION
from service.training.engines.compiled.operators.creation import CREATION
from service.training.engines.compiled.operators.distances import DISTANCES
from service.training.engines.compiled.operators.elementwise import ELEMENTWISE
from service.training.engines.compiled.operators.embedding_bag import EMBEDDING_BAG
from service.training.engines.compiled.operators.fourier import FOURIER
from service.training.engines.compiled.operators.indexing import INDEXING
from service.training.engines.compiled.operators.linear_algebra import LINEAR_ALGEBRA
from service.training.engines.compiled.operators.pooling import POOLING
from service.training.engines.compiled.operators.recurrence import RECURRENCE
from service.training.engines.compiled.operators.reduction import REDUCTION
from service.training.engines.compiled.operators.resampling import RESAMPLING
from service.training.engines.compiled.operators.shape import SHAPE
from service.training.engines.compiled.operators.sorting import SORTING

OPERATORS: Mapping[str, Callable[..., Any]] = {
    **CONVOLUTION,
    **CREATION,
    **DISTANCES,
    **ELEMENTWISE,
    **EMBEDDING_BAG,
    **FOURIER,
    **INDEXING,
    **LINEAR_ALGEBRA,
    **POOLING,
    **RECURRENCE,
    **REDUCTION,
    **RESAMPLING,
    **SHAPE,
    **SORTING,
}
