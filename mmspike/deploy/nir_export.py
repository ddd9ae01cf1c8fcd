"""What of a model the Neuromorphic Intermediate Representation (NIR) can say, as a NIR graph.

NIR has convolutions and LIF neurons in continuous time; where several edges meet, it adds. It has
no product of two activations, no maximum, no resizing. Its linear layers and average pooling are
not used: no model here has one before something that NIR cannot say.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmspike.errors import UserError
from mmspike.neurons import LIF, SpikingNeuron

from .onnx_export import Network, require
from .reparameterize import reparameterize

DT = 1e-4  # Seconds of a time step: what readers of NIR take by default.
CONVS = torch.conv2d, torch.nn.functional.conv2d
# They change how a tensor lies in memory, or show it again at every step, and nothing else.
SAME = {'contiguous', 'detach', 'clone', 'to', 'dropout', 'dropout2d'}
SUMS = {'add', 'add_', '__add__', '__radd__', '__iadd__'}
# They order numbers anew, which makes no difference to a chip; behind them stands what it lacks.
LAYOUT = {'unflatten', 'flatten', 'transpose', 'reshape', 'view', 'permute', '__getitem__'}


class Part(NamedTuple):
    """An operator that ran.

    Args:
        name: Its module's name in the model, and of a function without one its own behind it.
        kind: What it is.
        node: How NIR says it; None if it does not.
        sources: The nodes whose outputs it adds up; None if one cannot be said.
        shape: What it puts out, ``[C, H, W]``.
    """

    name: str
    kind: str
    node: Any
    sources: tuple[str, ...] | None
    shape: tuple[int, ...]


class Recorder(TorchFunctionMode):
    """Writes down what runs in a model, as NIR says it or not, and which operators feed which.

    What an operator gets is a sum of the outputs of others, as shortcuts add potentials.

    Args:
        model: A merged model.
        nir: The package.
        images: What the model is given.

    Attributes:
        parts: What ran, in order.
    """

    def __init__(self, model: nn.Module, nir: Any, images: Tensor) -> None:
        super().__init__()
        self.model, self.nir = model, nir
        self.parts: list[Part] = []
        self.inside: list[str] = []
        self.silent = 0
        # The terms of every tensor that came out of the image; None if NIR cannot say them. The
        # tensor is kept, so that no other gets its id.
        self.terms: dict[int, tuple[Tensor, tuple[str, ...] | None]] = {}
        self._know(images, ('input',))

    def terms_of(self, x: Any) -> tuple[str, ...] | None:
        """The nodes whose outputs a tensor adds up; None if NIR cannot say it."""
        return self.terms[id(x)][1] if id(x) in self.terms else None

    def _know(self, x: Tensor, terms: tuple[str, ...] | None) -> None:
        self.terms[id(x)] = x, terms

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.silent:
            return out
        given = [x for x in _tensors((args, kwargs)) if id(x) in self.terms]
        if given and isinstance(out, Tensor) and out.dim() > 1:
            self._note(getattr(func, '__name__', str(func)), func, args, given, out)
        elif given and isinstance(out, (list, tuple)):
            for x in _tensors(out):
                self._know(x, None)
        return out

    def _note(self, name: str, func: Any, args: tuple, given: list[Tensor], out: Tensor) -> None:
        terms = [self.terms_of(x) for x in given]
        if name in SAME or (name == 'cat' and all(x is given[0] for x in given)):
            self._know(out, terms[0])
            return
        if name in SUMS and len(given) == 2 and len({x.shape for x in given}) == 1:
            summed = None if None in terms else (*terms[0], *terms[1])  # type: ignore[misc]
            if summed is None or len(set(summed)) == len(summed):
                self._know(out, summed)
                return
        if name in LAYOUT:
            self._know(out, None)
            return
        module: Any = self.model.get_submodule(self.inside[-1]) if self.inside else self.model
        is_conv = func in CONVS and isinstance(module, nn.Conv2d) and module.padding_mode == 'zeros'
        node = self._conv(module, given[0]) if is_conv else None
        kind = type(module).__name__ if is_conv else name
        self._add(kind, node, terms, out, suffix='' if is_conv else f': {name}')

    def _conv(self, conv: nn.Conv2d, x: Tensor) -> Any:
        bias = np.zeros(conv.out_channels) if conv.bias is None else _numpy(conv.bias)
        options: Any = dict(stride=conv.stride, padding=conv.padding, dilation=conv.dilation)
        weight = _numpy(conv.weight)
        return self.nir.Conv2d(
            tuple(x.shape[-2:]),
            weight,
            groups=conv.groups,
            bias=bias.astype(weight.dtype),
            **options,
        )

    def _add(self, kind: str, node: Any, terms: list, out: Tensor, suffix: str = '') -> None:
        sources = None if node is None or None in terms else terms[0]
        own = self.inside[-1] if self.inside else type(self.model).__name__
        name = own.replace('.', '_')
        if node is not None and any(part.name == name for part in self.parts):
            sources, kind = None, f'{kind} that runs again'  # As on every level of a pyramid.
        self.parts.append(
            Part(name if node is not None else own + suffix, kind, node, sources, out.shape[1:])
        )
        self._know(out, None if sources is None else (name,))

    def _neuron(self, neuron: nn.Module, x: Tensor, out: Tensor) -> None:
        node, kind = None, type(neuron).__name__
        if isinstance(neuron, LIF) and neuron.v_reset is None:
            kind += ' with soft reset'
        elif isinstance(neuron, LIF):
            constants: dict[str, Any] = dict(
                tau=neuron.tau * DT,
                r=1.0 if neuron.decay_input else neuron.tau,
                v_leak=neuron.v_reset,
                v_threshold=neuron.v_threshold,
                v_reset=neuron.v_reset,
            )
            full = {name: np.full(x.shape[1:], float(value)) for name, value in constants.items()}
            node = self.nir.LIF(**full)
        self._add(kind, node, [self.terms_of(x)], out)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Write down what runs inside."""
        handles = []

        def enter(name: str, module: nn.Module, args: tuple) -> None:
            self.inside.append(name)
            self.silent += isinstance(module, SpikingNeuron)

        def leave(module: nn.Module, args: tuple, out: Any) -> None:
            if isinstance(module, SpikingNeuron):
                self.silent -= 1
                if id(args[0]) in self.terms:
                    self._neuron(module, args[0], out)
            self.inside.pop()

        for name, module in self.model.named_modules():
            if name:
                before = lambda module, args, name=name: enter(name, module, args)  # noqa: E731
                handles.append(module.register_forward_pre_hook(before))
                handles.append(module.register_forward_hook(leave))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()


def export_nir(model: Any, inputs: Tensor, folder: Path) -> list[str]:
    """Write ``model.nir``: what leads from the image to the last stage that NIR can say.

    The model is merged in the form ``'spike'``, what a chip runs. A decayed-input LIF is NIR's
    ``tau dv/dt = (v_leak - v) + r I`` with tau of as many steps of `DT` seconds and r = 1, in the
    other form r = tau; Euler's step is then the neuron's own equation. Of images the graph gets the
    same one at every step.

    Args:
        model: Any model of mmspike in evaluation mode.
        inputs: Normalized images ``[B, C, H, W]``; their size becomes the graph's.
        folder: Where to write.

    Returns:
        What to tell, first what NIR cannot say.

    Raises:
        UserError: If a package is missing, or no neuron can be said.
    """
    (nir,) = require('nir')
    network = Network(reparameterize(model, 'spike')).eval()
    if inputs.dim() != 4:
        raise UserError(
            'the model takes sequences, but --format nir exports what runs on an image; use '
            '--format onnx.'
        )
    images = inputs[:1]
    recorder = Recorder(network.model, nir, images)
    reached = _run(network, recorder, images)
    missing = [part for part in recorder.parts if part.node is None]
    names = _list_missing(missing)
    place, ends = reached[-1] if reached else ('', ())
    # Spikes leave a chip: those of the neuron that fires on the potentials there, if one does.
    fires = [p for p in recorder.parts if isinstance(p.node, nir.LIF) and p.sources == ends]
    ends = (fires[0].name,) if fires else ends
    graph = build_graph(nir, recorder.parts, ends, images) if ends else None
    neurons = sum(isinstance(node, nir.LIF) for node in graph.nodes.values()) if graph else 0
    if graph is None or not neurons:
        raise UserError(
            f'NIR can say no neuron of this model up to the end of a stage: it has no {names}. '
            'Use --format onnx, or train with mmspike.LIF (hard reset) in a backbone whose first '
            'stages are convolutions, as those of mmspike.MetaSpikeFormer.'
        )
    print(f'NIR cannot say: {names}')  # Before anything is written.
    nir.write(folder / 'model.nir', graph)
    return [
        f'model.nir ends behind {place} with {" + ".join(ends)}: {len(graph.nodes) - 2} of '
        f'{len(recorder.parts)} operators, {neurons} of them neurons; images of '
        f'{images.shape[-2]}x{images.shape[-1]}, a time step of dt = {DT:g} s',
    ]


def _run(network: Network, recorder: Recorder, images: Tensor) -> list[tuple[str, tuple[str, ...]]]:
    """Run a network, and return the stages, or its whole, that NIR can say, with their terms."""
    backbone = getattr(network.model, 'backbone', network.model)
    reached = []
    stock = getattr(backbone, 'run_stage', None)
    if stock is not None:

        def run_stage(index: int, x: Tensor) -> Tensor:
            out = stock(index, x)
            if terms := recorder.terms_of(out):
                reached.append((f'stage {index}', terms))
            return out

        backbone.run_stage = run_stage
    with recorder.watching(), torch.no_grad():
        outs = network(images)
    if len(outs) == 1 and (terms := recorder.terms_of(outs[0])):
        reached.append(('the output', terms))
    return reached


def _list_missing(missing: list[Part]) -> str:
    """Name the operators that NIR has not, and where the first of each stands."""
    counts = Counter(part.kind for part in missing)
    first = {part.kind: part.name for part in reversed(missing)}
    shown = [f'{kind} ({first[kind]}; {count} in all)' for kind, count in counts.items()]
    return ', '.join(shown) or 'nothing is left out'


def build_graph(nir: Any, parts: list[Part], ends: tuple[str, ...], images: Tensor) -> Any:
    """Make a NIR graph of what leads to some nodes.

    Args:
        nir: The package.
        parts: What ran.
        ends: The nodes whose sum is the output.
        images: The input, ``[B, C, H, W]``.
    """
    known = {part.name: part for part in parts if part.node is not None and part.sources}
    needed, open_ends = set(), list(ends)
    while open_ends:
        name = open_ends.pop()
        if name in known and name not in needed:
            needed.add(name)
            open_ends += known[name].sources or ()
    edges = [(source, name) for name in needed for source in known[name].sources or ()]
    shape = known[ends[0]].shape
    nodes = {
        'input': nir.Input({'input': np.array(images.shape[1:])}),
        **{part.name: part.node for part in parts if part.name in needed},
        'output': nir.Output({'output': np.array(shape)}),
    }
    return nir.NIRGraph(nodes, [*sorted(edges), *((end, 'output') for end in ends)])


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().contiguous().numpy()


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
