"""Intercept the torch functions that a model calls, with the module that calls them."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class TrackedFunctions(TorchFunctionMode):
    """See every function of torch that a model calls, and know the module that calls it.

    A context manager. A subclass implements ``__torch_function__``, and asks for `running`; it may
    also override what is called as each module begins (`_entered`) and ends (`_left`).

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._stack: list[tuple[str, nn.Module]] = []
        self._handles: list = []

    @property
    def running(self) -> tuple[str, nn.Module]:
        """The innermost module that runs, and its name; between its parts that is the model."""
        return self._stack[-1] if self._stack else ('', self._model)

    def _entered(self, name: str, module: nn.Module) -> None:
        pass

    def _left(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        pass

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))

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
