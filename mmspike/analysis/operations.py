"""Watch the weight layers and matrix products of a running model, whoever calls them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmspike.analysis.backbone import find_backbone
from mmspike.analysis.spike_kinds import ANALOG, KINDS, kind_of
from mmspike.errors import UserError
from mmspike.neurons import SpikingNeuron

WEIGHT_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
WEIGHTINGS: dict[Callable, str] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), 'convolution'),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), 'transposed convolution'
    ),
    F.linear: 'linear',
}
PRODUCTS: dict[Callable, str] = {
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm), 'matrix product'),
    **dict.fromkeys((Tensor.matmul, Tensor.mm, Tensor.bmm), 'matrix product'),
    **dict.fromkeys((Tensor.__matmul__, Tensor.__rmatmul__), 'matrix product'),
    torch.einsum: 'einsum',
    **dict.fromkeys((torch.outer, torch.ger, torch.kron), 'outer product'),
    **dict.fromkeys((Tensor.outer, Tensor.ger, Tensor.kron), 'outer product'),
    torch.linalg.vecdot: 'dot product',
}
ARGUMENTS = {
    'convolution': ('input', 'weight', 'bias', 'stride', 'padding', 'dilation', 'groups'),
    'transposed convolution': (
        *('input', 'weight', 'bias', 'stride', 'padding', 'output_padding', 'groups', 'dilation'),
    ),
    'linear': ('input', 'weight', 'bias'),
}
# Multiply-accumulates of kernels that torch's own counter does not know, from their factors.
KERNELS: dict[str, Callable[..., int]] = {
    'mv': lambda matrix, vector: matrix.numel(),
    'addmv': lambda matrix, vector: matrix.numel(),
    'dot': lambda a, b: a.numel(),
    'vdot': lambda a, b: a.numel(),
    'addr': lambda a, b: a.numel() * b.numel(),
    'addbmm': lambda a, b: a.numel() * b.shape[-1],
    '_int_mm': lambda a, b: a.numel() * b.shape[-1],
}
ATTENTION = re.compile(r'_scaled_dot_product_|_(flash|efficient)_attention')
# Kernels of two tensors or more that multiply no two of them: they move, choose or compare values,
# interpolate (see `AnalogOperations`), or are norms, which merge with weights.
HARMLESS = re.compile(
    r'_norm|norm_|copy|index_|scatter|gather|masked_|_put|where|cat|stack|nms|roi_|grid_sampler|'
    r'searchsorted|bucketize|equal|close|hist|embedding|unpool|_fused_|isin|set_|resize|relu|complex'
)
# Of one tensor, and they do multiply.
TRANSFORMS = re.compile(r'_fft_|_?linalg_(?!vector_norm|check)')
PLACES = (torch.bool, torch.int16, torch.int32, torch.int64)  # No values.


@dataclass
class Operation:
    """One operation of weights, or product of two tensors, as it ran.

    Args:
        name: A convolution, transposed convolution, linear layer or product.
        operand: What its weights saw; of a product it is the better one, as spikes address
            additions of the other.
        kind: What its values are, as of `mmspike.analysis.spike_kinds.kind_of`.
        macs: How many multiply-accumulates it takes, zeros of padding included.
        unpadded: Sums up a tensor of the operand's shape, each value as often as a weight meets it:
            so zeros of padding are left out. None where every weight meets every value.
    """

    name: str
    operand: Tensor
    kind: str
    macs: int
    unpadded: Callable[[Tensor], float] | None = None

    @property
    def is_product(self) -> bool:
        """Whether it multiplies two tensors, and has no weights."""
        return self.name not in WEIGHTINGS.values()

    def count_unpadded(self) -> Tensor:
        """Count additions and multiply-accumulates, ``[2]``, without the zeros of padding."""
        x = self.operand.detach()
        if self.unpadded is not None:
            return torch.tensor([self.unpadded(x), self.unpadded(torch.ones_like(x))]).double()
        mean = float(x.mean(dtype=torch.float64)) if x.numel() else 0.0
        return torch.tensor([self.macs * mean, self.macs], dtype=torch.float64)


class _Kernels(TorchDispatchMode):
    """See the kernels that torch runs, also those inside its own functions."""

    def __init__(self, saw: Callable) -> None:
        super().__init__()
        self._saw = saw

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self._saw(func, args, kwargs or {}, output)
        return output


class WatchedOperations(TorchFunctionMode):
    """See every convolution, linear layer and matrix product of a model, and who calls it.

    It intercepts torch functions, so it also sees unregistered layers and matrix products inside
    methods, and the kernels below them, so that attentions and recurrent layers of torch do not
    pass. A context manager; a subclass implements `_saw`, and asks for `running`. It may also
    override what is called as each module begins (`_entered`) and ends (`_left`).

    Args:
        model: A model in evaluation mode, merged by `mmspike.deploy.reparameterize` so that what no
            neuron separates is one layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ran: set[str] = set()  # Names of the modules whose weights saw something.
        self.unknown: dict[str, None] = {}  # Operations that multiply in an unknown way, in order.
        self._model = model
        self._stack: list[tuple[str, nn.Module]] = []
        self._handles: list = []
        self._kernels = _Kernels(self._saw_kernel)
        self._weights: dict[int, str] = {}  # The names of weight layers, by their weights' memory.
        self._claimed: list[int] | None = None  # Products within a function that is seen itself.

    @property
    def running(self) -> tuple[str, nn.Module]:
        """The innermost module that runs, and its name; between its parts that is the model."""
        return self._stack[-1] if self._stack else ('', self._model)

    @property
    def not_run(self) -> list[str]:
        """The weight layers that no forward reached, but for stages behind the last output."""
        path, backbone = find_backbone(self._model)
        unused = tuple(
            f'{path}.{part}.'.lstrip('.') for part in getattr(backbone, 'unused_parts', ())
        )
        return [
            name
            for name, module in self._model.named_modules()
            if isinstance(module, WEIGHT_LAYERS)
            and name not in self.ran
            and not f'{name}.'.startswith(unused)
        ]

    def require_known(self) -> None:
        """Refuse operations that multiply and of which no count is known.

        Raises:
            UserError: If there was one.
        """
        if self.unknown:
            raise UserError(
                f'{", ".join(self.unknown)}: how this multiplies is not known, so neither its '
                'energy nor its spikes are; make it of convolutions, linear layers and matrix '
                'products.'
            )

    def _saw(self, seen: Operation) -> None:
        """Called when `running` has done an operation."""
        raise NotImplementedError

    def _entered(self, name: str, module: nn.Module, inputs: tuple) -> None:
        pass

    def _left(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        pass

    def __enter__(self) -> Any:
        for name, module in self._model.named_modules():
            before, after = self._hooks(name, module)
            self._handles.append(module.register_forward_pre_hook(before))
            self._handles.append(module.register_forward_hook(after))
            if isinstance(module, WEIGHT_LAYERS):
                self._weights[_memory(module.weight)] = name
        self._kernels.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._kernels.__exit__(*exception)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stack.clear()

    def _hooks(self, name: str, module: nn.Module) -> tuple[Callable, Callable]:
        def before(_: nn.Module, inputs: tuple) -> None:
            self._stack.append((name, module))
            self._entered(name, module, inputs)

        def after(_: nn.Module, inputs: tuple, output: object) -> None:
            self._stack.pop()
            self._left(name, module, inputs, output)

        return before, after

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS and func not in WEIGHTINGS:
            return func(*args, **kwargs)
        self._claimed = []
        try:
            output = func(*args, **kwargs)
            self._saw(self._describe(func, args, kwargs, output, sum(self._claimed)))
        finally:
            self._claimed = None
        return output

    def _describe(
        self, func: Callable, args: tuple, kwargs: dict, output: Tensor, macs: int
    ) -> Operation:
        if func in PRODUCTS:
            given = [[x] if isinstance(x, Tensor) else x for x in (*args, *kwargs.values())]
            operands = [x for xs in given if isinstance(xs, (list, tuple)) for x in xs]
            if not macs and len(operands) > 1 and output.numel():  # It ran as products of values.
                macs = max(x.numel() for x in (output, *operands))
            return Operation(PRODUCTS[func], *_better(operands), macs)
        kind = WEIGHTINGS[func]
        named = {**dict(zip(ARGUMENTS[kind], args, strict=False)), **kwargs}
        x, weight = named['input'], named['weight']
        if x.numel():
            self.ran.add(self.running[0])
        unpadded = None if kind == 'linear' else _Unpadded(func, **named)
        return Operation(kind, x, kind_of(x), _weight_macs(kind, x, weight, output), unpadded)

    def _saw_kernel(self, func: Any, args: tuple, kwargs: dict, output: Any) -> None:
        """Look for a product in what a function of torch runs, unless it was seen itself."""
        if torch.Tag.pointwise in func.tags or isinstance(self.running[1], SpikingNeuron):
            return
        name = func.overloadpacket.__name__.rstrip('_')  # In place or not.
        given = (*args, *kwargs.values())
        factors = _values(given)
        if name.startswith(('add', 'badd')):  # The first is added.
            factors = [x for x in factors if x is not args[0]] or factors
        macs = _kernel_macs(name, func, args, kwargs, output, factors)
        if macs is None:
            listed = [x for xs in given if isinstance(xs, (list, tuple)) for x in _values(xs)]
            several = bool(factors) and len(factors) + len(listed) > 1
            if (several and not HARMLESS.search(name)) or TRANSFORMS.match(name):
                self.unknown[f'{name} of {self.running[0] or "the model"}'] = None
        elif self._claimed is not None:
            self._claimed.append(macs)
        elif any(_memory(x) not in self._weights for x in factors):
            self.ran.update(self._weights.get(_memory(x), '') for x in factors)
            operand, kind = _better([x for x in factors if _memory(x) not in self._weights])
            self._saw(Operation(name, operand, ANALOG if ATTENTION.match(name) else kind, macs))


class _Unpadded:
    """Sums up what the weights of a convolution meet; see `Operation`.

    Args:
        func: The function of torch.
        named: Its arguments.
    """

    def __init__(self, func: Callable, input: Tensor, weight: Tensor, **named: Any) -> None:  # noqa: A002 - torch's name.
        self.func, self.named = func, named
        self.groups = self.named.pop('groups', 1)
        self.named['bias'] = None
        self.kernel = weight.shape[2:]
        # Weights of one input channel, those of a transposed convolution lie along the other axis.
        transposed = WEIGHTINGS[func] == 'transposed convolution'
        self.outputs = weight.shape[1] if transposed else len(weight) // self.groups

    def __call__(self, x: Tensor) -> float:
        x = x.unsqueeze(0) if x.dim() == len(self.kernel) + 1 else x
        each = x.unflatten(1, (self.groups, -1)).sum(dim=2, dtype=torch.float64)
        each = each.flatten(0, 1).unsqueeze(1)  # [N*groups, 1, ...]
        ones = each.new_ones(1, 1, *self.kernel)
        return float(self.func(each, ones, **self.named).sum()) * self.outputs


def _better(operands: Sequence[Tensor]) -> tuple[Tensor, str]:
    """Choose the operand that is nearest to spikes, and tell its kind."""
    kind, i = min((KINDS.index(kind_of(x)), i) for i, x in enumerate(operands))
    return operands[i], KINDS[kind]


def _values(given: Sequence) -> list[Tensor]:
    """Choose the tensors that hold values, and more than one."""
    tensors = [x for x in given if isinstance(x, Tensor)]
    return [x for x in tensors if x.dtype not in PLACES and x.numel() > 1]


def _memory(x: Tensor) -> int:
    """Tell where a tensor lies, and so do its views; 0 if nowhere."""
    return x.untyped_storage().data_ptr() if x.layout == torch.strided else 0


def _weight_macs(operation: str, x: Tensor, weight: Tensor, output: Tensor) -> int:
    """Count the multiply-accumulates of each weight, one a position."""
    if operation == 'linear':
        return x.numel() * len(weight)
    # A transposed convolution spreads each input, the others gather for each output.
    spread = x if operation == 'transposed convolution' else output
    return spread.numel() // len(weight) * weight.numel()


def _kernel_macs(
    name: str, func: Any, args: tuple, kwargs: dict, output: Any, factors: Sequence[Tensor]
) -> int | None:
    """Count the multiply-accumulates of a kernel; None if it is no known product."""
    packet = getattr(torch.ops.aten, name, func.overloadpacket)
    if name in KERNELS and len(factors) > 1:
        return KERNELS[name](*factors[:2])
    if ATTENTION.match(name):
        query, key, value = factors[:3]
        return prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=output) // 2
    return None
