"""An `nn.Module` that computes a forward graph, and prints, saves and trains like the hand-written class."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.graph import Graph
from service.architectures.text.nodes import Observer
from service.specs.architecture import Constant


class ForwardModule(nn.Module):
    """Computes a graph with its own parameters and submodules.

    Args:
        class_name: Class name to print.
        constants: Its constants by name, which the graph contains.
        parameters: Its own parameters by name, in order.
        buffers: Functions that compute its own buffers on the default device, by name, in order.
        submodules: Its submodules by name, in order.
        graph: Graph of the forward text.
        observer: Observes each run; the check on the meta device sets one.
    """

    def __init__(
        self,
        class_name: str,
        constants: Mapping[str, Constant],
        parameters: Mapping[str, nn.Parameter],
        buffers: Mapping[str, Callable[[], Tensor]],
        submodules: Mapping[str, nn.Module],
        graph: Graph,
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.class_name = class_name
        self.graph = graph
        self.constants = constants
        self._buffer_functions = buffers
        self._observer = observer
        for name, parameter in parameters.items():
            if "." in name:
                self._add_entry(name, parameter, nn.ParameterList, nn.ParameterDict)
            else:
                self.register_parameter(name, parameter)
        for name, buffer in self.initial_buffers().items():
            self.register_buffer(name, buffer)
        for name, module in submodules.items():
            if "." in name:
                self._add_entry(name, module, nn.ModuleList, nn.ModuleDict)
            else:
                self.add_module(name, module)

    def _add_entry(self, name: str, entry: Any, make_list: type[Any], make_dict: type[Any]) -> None:
        """Add `blocks.0` to the list `blocks`, or `heads.price` to the dict `heads`."""
        owner, _, key = name.partition(".")
        if owner not in self._modules:
            self.add_module(owner, (make_list if key.isdigit() else make_dict)())
        container: Any = self._modules[owner]
        if key.isdigit():
            container.append(entry)
        else:
            container[key] = entry

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute the graph.

        Raises:
            ForwardError: If an operation fails, with its location and the shapes of its operands.
            TypeError: If the arguments are not the inputs of the graph.
        """
        given = dict(zip(self.graph.inputs, inputs, strict=False))
        if len(inputs) + len(named) != len(self.graph.inputs) or {*given, *named} != {*self.graph.inputs}:
            expected = ", ".join(self.graph.inputs)
            raise TypeError(
                f"{self.class_name} expects the inputs {expected}; the call has {len(inputs) + len(named)}."
            )
        given |= named
        device = next((x.device for x in given.values() if isinstance(x, Tensor)), torch.device("cpu"))
        return self.graph.run(self, given, device, self._observer)

    def initial_buffers(self) -> dict[str, Tensor]:
        """Compute its own buffers by name, on the default device."""
        return {name: compute() for name, compute in self._buffer_functions.items()}

    @property
    def inplace(self) -> bool:
        """Whether `forward` writes into a tensor, as a layer with `inplace` does."""
        return self.graph.inplace

    @property
    def forward_inputs(self) -> tuple[str, ...]:
        """Names of the inputs; `fitserve.describe` reads them instead of tracing `forward`."""
        return self.graph.inputs

    @property
    def forward_text(self) -> str:
        """Body of `forward`; `fitserve.describe` reads it instead of tracing `forward`."""
        return str(self.graph)

    def _get_name(self) -> str:
        return self.class_name
