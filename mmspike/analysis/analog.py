"""Count analog operations outside weight layers: upsampling, pooling, RoIAlign, additions."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.analysis.operations import WatchedOperations
from mmspike.neurons import SpikingNeuron

UPSAMPLING = 'upsampling (MAC)'
POOLING = 'pooling (comparisons or additions)'
ROI_ALIGN = 'RoIAlign (MAC)'
# Multiply-accumulates for each value that is interpolated.
INTERPOLATION = {'bilinear': 4, 'bicubic': 16, 'linear': 2, 'trilinear': 8}
POOLS = {
    torch.nn.functional.max_pool2d,
    torch.nn.functional.avg_pool2d,
    torch.nn.functional.adaptive_avg_pool2d,
    torch.nn.functional.adaptive_max_pool2d,
}
SUMS_AND_PRODUCTS = {
    **dict.fromkeys((Tensor.add, Tensor.add_, Tensor.__iadd__, torch.add), 'addition of maps'),
    **dict.fromkeys((Tensor.mul, Tensor.mul_, torch.mul), 'multiplication of maps (MAC)'),
}


class AnalogOperations(WatchedOperations):
    """Count upsampling, pooling, RoIAlign, and sums and products of maps while a model runs.

    Additions inside a neuron are its own and not counted; neither are norms, which merge with the
    weights before them.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.counts: Counter[tuple[str, str]] = Counter()

    def _left(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        # The samples of a RoIAlign depend on its RoIs.
        if type(module).__name__ == 'RoIAlign' and len(inputs) > 1:
            self._add(ROI_ALIGN, _roi_align_macs(module, inputs[1], output), name)

    def _add(self, kind: str, count: int, name: str) -> None:
        if count:
            self.counts[kind, name] += count

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = super().__torch_function__(func, types, args, kwargs)
        name, module = self.running
        if isinstance(module, SpikingNeuron):
            return output
        if func is torch.nn.functional.interpolate:
            mode = kwargs.get('mode', args[3] if len(args) > 3 else 'nearest')
            self._add(UPSAMPLING, INTERPOLATION.get(mode, 0) * output.numel(), name)
        elif func is torch.nn.functional.grid_sample:
            mode = kwargs.get('mode', args[2] if len(args) > 2 else 'bilinear')
            self._add(UPSAMPLING, INTERPOLATION.get(mode, 0) * output.numel(), name)
        elif func in POOLS:
            self._add(POOLING, args[0].numel(), name)
        elif func in SUMS_AND_PRODUCTS and isinstance(output, Tensor) and output.dim() == 4:
            if all(isinstance(x, Tensor) and x.dim() == 4 for x in args[:2]):
                self._add(SUMS_AND_PRODUCTS[func], output.numel(), name)
        return output


def _roi_align_macs(module: Any, rois: Tensor, output: Tensor) -> int:
    """Count four multiply-accumulates for each sampled value of each RoI ``[K, 5]``."""
    height, width = module.output_size
    if module.sampling_ratio > 0:
        samples = len(rois) * module.sampling_ratio**2
    else:  # As many in each bin as it covers pixels.
        size = (rois[:, 3:] - rois[:, 1:3]) * module.spatial_scale
        bins = size / size.new_tensor([width, height])
        samples = int(bins.ceil().clamp(min=1).prod(dim=1).sum())
    return 4 * samples * height * width * output.shape[1]
