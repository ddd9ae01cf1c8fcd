"""Watch the weight layers and matrix products of a running model, whoever calls them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from mmspike.analysis.backbone import find_backbone
from mmspike.analysis.spike_kinds import KINDS, kind_of

WEIGHT_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
WEIGHTINGS = {
    torch.nn.functional.conv1d: 'convolution',
    torch.nn.functional.conv2d: 'convolution',
    torch.nn.functional.conv3d: 'convolution',
    torch.nn.functional.conv_transpose2d: 'transposed convolution',
    torch.nn.functional.linear: 'linear',
}
PRODUCTS: dict[Callable, str] = {
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm), 'matrix product'),
    **dict.fromkeys((Tensor.matmul, Tensor.mm, Tensor.bmm), 'matrix product'),
    **dict.fromkeys((Tensor.__matmul__, Tensor.__rmatmul__), 'matrix product'),
    torch.einsum: 'einsum',
}


class WatchedOperations(TorchFunctionMode):
    """See every convolution, linear layer and matrix product of a model, and who calls it.

    It intercepts torch functions, so it also sees unregistered layers and matrix products inside
    methods. A context manager; a subclass implements `_saw`, and asks for `running`. It may also
    override what is called as each module begins (`_entered`) and ends (`_left`).

    Args:
        model: A model in evaluation mode, merged by `mmspike.deploy.reparameterize` so that what no
            neuron separates is one layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ran: set[str] = set()  # Names of the modules whose weights saw something.
        self._model = model
        self._stack: list[tuple[str, nn.Module]] = []
        self._handles: list = []

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

    def _saw(self, operation: str, operand: Tensor, kind: str, macs: int) -> None:
        """Called when `running` has done an operation of so many multiply-accumulates.

        The operand is what its weights saw; of a product it is the better one, as spikes address
        additions of the other.
        """
        raise NotImplementedError

    def _entered(self, name: str, module: nn.Module) -> None:
        pass

    def _left(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        pass

    def __enter__(self) -> Any:
        for name, module in self._model.named_modules():
            before, after = self._hooks(name, module)
            self._handles.append(module.register_forward_pre_hook(before))
            self._handles.append(module.register_forward_hook(after))
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stack.clear()
        super().__exit__(*exception)

    def _hooks(self, name: str, module: nn.Module) -> tuple[Callable, Callable]:
        def before(_: nn.Module, __: tuple) -> None:
            self._stack.append((name, module))
            self._entered(name, module)

        def after(_: nn.Module, inputs: tuple, output: object) -> None:
            self._stack.pop()
            self._left(name, module, inputs, output)

        return before, after

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS:
            with FlopCounterMode(display=False) as counter:
                output = func(*args, **kwargs)
            given = [[x] if isinstance(x, Tensor) else x for x in (*args, *kwargs.values())]
            operands = [x for xs in given if isinstance(xs, (list, tuple)) for x in xs]
            kind, i = min((KINDS.index(kind_of(x)), i) for i, x in enumerate(operands))
            macs = counter.get_total_flops() // 2
            self._saw(PRODUCTS[func], operands[i], KINDS[kind], macs)
            return output
        output = func(*args, **kwargs)
        if func in WEIGHTINGS:
            named = {**dict(zip(('input', 'weight'), args, strict=False)), **kwargs}
            x, weight = named['input'], named['weight']
            macs = _weight_macs(WEIGHTINGS[func], x, weight, output)
            if x.numel():
                self.ran.add(self.running[0])
            self._saw(WEIGHTINGS[func], x, kind_of(x), macs)
        return output


def _weight_macs(operation: str, x: Tensor, weight: Tensor, output: Tensor) -> int:
    """Count the multiply-accumulates of each weight, one a position."""
    if operation == 'linear':
        return x.numel() * len(weight)
    # A transposed convolution spreads each input, the others gather for each output.
    spread = x if operation == 'transposed convolution' else output
    return spread.numel() // len(weight) * weight.numel()
