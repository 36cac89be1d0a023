"""The module of a forward text: an `nn.Module` that prints, saves and trains like the hand-written class."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.graph import Graph
from service.architectures.text.nodes import Observer


class ForwardModule(nn.Module):
    """Computes a graph with its own parameters and submodules.

    Args:
        class_name: what it prints as.
        parameters: its own, in order.
        submodules: in order.
        graph: of the forward text.
        observer: looks on; the check on the meta device has one.
    """

    def __init__(
        self,
        class_name: str,
        parameters: Mapping[str, nn.Parameter],
        submodules: Mapping[str, nn.Module],
        graph: Graph,
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.class_name = class_name
        self.graph = graph
        self._observer = observer
        for name, parameter in parameters.items():
            self.register_parameter(name, parameter)
        for name, module in submodules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute the graph.

        Raises:
            ForwardError: with line, column and the shapes that met there.
        """
        given = dict(zip(self.graph.inputs, inputs, strict=False))
        if len(inputs) + len(named) != len(self.graph.inputs) or {*given, *named} != {*self.graph.inputs}:
            takes = ", ".join(self.graph.inputs)
            raise TypeError(f"{self.class_name} takes {takes}, and got {len(inputs) + len(named)} of them.")
        device = next((x.device for x in inputs if isinstance(x, Tensor)), torch.device("cpu"))
        return self.graph.run(self, {**given, **named}, device, self._observer)

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
