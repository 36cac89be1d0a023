"""The optimizers of torch.optim that a spec may name."""

from collections.abc import Mapping

from torch import optim

from service.specs.arguments import Constructor

# How a step is executed is the engine's choice, not the client's: `foreach` keeps the bits of the
# plain loop, `fused` changes them. `capturable` does, too: it is set on a GPU, so that a graph
# can hold a step. `differentiable` has no meaning over HTTP.
_OMITTED = ("params", "foreach", "fused", "capturable", "differentiable")

OPTIMIZERS: Mapping[str, Constructor] = {
    cls.__name__: Constructor(cls, _OMITTED)
    for cls in (
        optim.ASGD,
        optim.Adadelta,
        optim.Adafactor,
        optim.Adagrad,
        optim.Adam,
        optim.AdamW,
        optim.Adamax,
        optim.Muon,
        optim.NAdam,
        optim.RAdam,
        optim.RMSprop,
        optim.Rprop,
        optim.SGD,
    )
}

REFUSED_OPTIMIZERS: Mapping[str, str] = {
    "LBFGS": "its step calls a closure that evaluates the model several times",
    "Optimizer": "it is the base class",
    "SparseAdam": "it takes sparse gradients only",
}
