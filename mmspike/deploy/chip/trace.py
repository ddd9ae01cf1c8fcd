"""The merged network as torch.export sees it, with every neuron as one operation."""

import warnings
from copy import deepcopy
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmspike.neurons import SpikingNeuron


@torch.library.custom_op('mmspike::fire', mutates_args=())
def fire(x: Tensor, name: str) -> Tensor:
    """Stand for the neuron of a name in an exported graph; what runs the graph knows it."""
    return x.clone()


@fire.register_fake
def _(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


class _Fire(nn.Module):
    """Stands in a neuron's place while a model is traced."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return fire(x, self.name)


class _Raw(nn.Module):
    """What of a model a chip runs: from the picture to the dense predictions, nothing decoded."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        if hasattr(self.model, 'roi_head'):  # What a RoI sees depends on the picture.
            return self.model.rpn_head(self.model.extract_feat(x))
        return self.model(x, mode='tensor') if isinstance(self.model, BaseModel) else self.model(x)


def trace(model: nn.Module, picture: Tensor) -> Any:
    """Export a merged model, up to its dense predictions.

    Args:
        model: What `mmspike.deploy.reparameterize` gives.
        picture: What the graph is made for: its size, and one picture ``[1, C, H, W]`` or sequence
            ``[1, T, C, H, W]``.

    Returns:
        A `torch.export.ExportedProgram` without operations in place, in which a neuron is one
        ``mmspike::fire`` of its name.
    """
    copy = deepcopy(model)
    for name, neuron in list(copy.named_modules()):
        if isinstance(neuron, SpikingNeuron):
            parent, _, own = name.rpartition('.')
            setattr(copy.get_submodule(parent), own, _Fire(name))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # Of torch, about torch.
        program = torch.export.export(_Raw(copy), (picture,), strict=False)
        return program.run_decompositions({})


class Golden(torch.fx.Interpreter):
    """Runs an exported graph with the weights and neurons of a model, and writes down its spikes.

    Args:
        program: What `trace` gives.
        model: A model of the same parts, such as its int8 form, in any precision.

    Attributes:
        counts: What each neuron fired in the last run, by the names of the nodes.
    """

    def __init__(self, program: Any, model: nn.Module) -> None:
        super().__init__(program.graph_module)
        self.neurons = {n: m for n, m in model.named_modules() if isinstance(m, SpikingNeuron)}
        for neuron in self.neurons.values():
            neuron.backend = 'torch'  # The constants of the compiled ones are in single precision.
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.fixed = [
            tensors[str(spec.target).removeprefix('model.')]
            for spec in program.graph_signature.input_specs
            if spec.kind != torch.export.graph_signature.InputKind.USER_INPUT
        ]
        self.counts: dict[str, Tensor] = {}

    def outputs(self, picture: Tensor) -> list[Tensor]:
        """Run a picture; return the predictions."""
        with torch.no_grad():
            return list(self.run(*self.fixed, picture))

    def run_node(self, n: torch.fx.Node) -> Any:
        """As of `torch.fx.Interpreter`; neurons fire."""
        if n.target is not torch.ops.mmspike.fire.default:
            return super().run_node(n)
        x, name = self.fetch_args_kwargs_from_env(n)[0]
        self.counts[n.name] = self.neurons[name](x)
        return self.counts[n.name]
