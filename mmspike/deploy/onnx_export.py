"""A merged model as ONNX and as a program of torch.export, with the raw outputs of its heads."""

import inspect
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mmspike.errors import UserError
from mmspike.neurons import find_time_steps

from .reparameterize import reparameterize

TOLERANCE = 1e-4


def require(*packages: str) -> list[Any]:
    """Import packages of the extra ``[export]``.

    Args:
        packages: Their names.

    Raises:
        UserError: If one is not installed.
    """
    try:
        return [import_module(package) for package in packages]
    except ImportError as error:
        raise UserError(
            f"this format needs the package '{error.name}', which is not installed here; "
            'pip install "mmspike[export]" installs it.'
        ) from error


class Network(nn.Module):
    """What of a model is a network: images in, raw outputs out, before boxes are decoded or sorted.

    Of a two-stage detector these are the features of its neck and the outputs of its RPN; what
    follows is proposals, whose number depends on what the image shows.

    Args:
        model: A merged model, or a backbone alone; it is copied.

    Attributes:
        names: A name for each output, once the network has run.

    Shape:
        - input: ``[B, C, H, W]``, or sequences ``[B, T, C, H, W]``
        - output: a list of tensors ``[B, ...]``, and ``[T*B, ...]`` where features leave
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = deepcopy(model)
        for part in list(self.model.modules()):
            for name, child in part.named_children():
                if type(child).__name__ == 'Upsample' and not isinstance(child, nn.Upsample):
                    setattr(part, name, _Enlarge(child))
        # The order of memory is the runtime's.
        backbone = getattr(self.model, 'backbone', self.model)
        backbone.channels_last = False
        backbone.to(next(backbone.parameters()).device)
        self.names: list[str] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        model = self.model
        head = getattr(model, 'rpn_head', None) or getattr(model, 'bbox_head', None)
        outs: Any
        if not hasattr(model, 'backbone'):
            outs, names = [model(images)], ['features']
        elif head is None:
            outs, names = [model(images, mode='tensor')], ['logits']
        else:
            feats = model.extract_feat(images)
            # What the library calls the outputs of a head, where it decodes them.
            outs, names = head(feats), list(inspect.signature(head.predict_by_feat).parameters)
            if hasattr(model, 'rpn_head'):
                outs, names = (feats, *outs), ['features', *(f'rpn_{name}' for name in names)]
        self.names = []
        for name, out in zip(names, outs, strict=False):
            several = not isinstance(out, Tensor)
            self.names += [f'{name}_{i}' for i in range(len(out))] if several else [name]
        return tree_leaves(outs)


class _Enlarge(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, which asks torch for no whole number of its own."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.factor = int(stock.scale_factor)
        self.options = dict(mode=stock.mode, align_corners=stock.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        size = [length * self.factor for length in x.shape[-2:]]
        return F.interpolate(x, size=size, **self.options)


def export_onnx(model: nn.Module, inputs: Tensor, folder: Path) -> list[str]:
    """Write ``model.onnx`` and ``model.pt2``, and compare the first with torch.

    The model is merged in the form ``'fast'``, as what runs ONNX is a CPU or GPU. T is fixed; the
    batch is dynamic, and height and width in multiples of the largest stride, where the images are
    such and the model allows.

    Args:
        model: Any model of mmspike in evaluation mode.
        inputs: Normalized images ``[B, C, H, W]`` or sequences ``[B, T, C, H, W]`` to compare on.
        folder: Where to write.

    Returns:
        What to tell.

    Raises:
        UserError: If a package is missing.
    """
    _, _, runtime = require('onnx', 'onnxscript', 'onnxruntime')
    network = Network(reparameterize(model, 'fast')).eval()
    program, stride = export_program(network, inputs[:1])
    torch.export.save(program, folder / 'model.pt2')
    written: Any = torch.onnx.export(
        program, dynamo=True, input_names=['images'], output_names=network.names, verbose=False
    )
    written.model.metadata_props.update(_metadata(model))
    for node in written.model.graph:  # Where in the source, with this machine's paths.
        node.metadata_props.pop('pkg.torch.onnx.stack_trace', None)
    written.save(folder / 'model.onnx')
    session = runtime.InferenceSession(
        str(folder / 'model.onnx'), providers=['CPUExecutionProvider']
    )
    height, width = inputs.shape[-2:]
    sizes = f'height and width multiples of {stride}' if stride else f'size {height}x{width} alone'
    lines = [
        f'model.onnx, and model.pt2 of torch.export: T = {find_time_steps(model)}, any batch, '
        f'{sizes}; outputs {", ".join(network.names)}'
    ]
    if hasattr(model, 'roi_head'):
        lines.append(
            'They end at the outputs of the RPN: what follows begins with nms and RoIAlign of '
            'mmcv, which ONNX does not have, so roi_head is not in them.'
        )
    return [*lines, compare(network, session, inputs)]


def export_program(network: nn.Module, images: Tensor) -> tuple[Any, int | None]:
    """Export a network by torch.export, with a dynamic batch and, where possible, dynamic sizes.

    Args:
        network: What to export.
        images: An image or a sequence.

    Returns:
        The program, and what height and width must be multiples of; None if they are fixed.
    """
    network(images)  # It learns its names; what an export assigns is taken back.
    own: Any = network
    backbone = getattr(own.model, 'backbone', own.model)
    stride = max(*getattr(backbone, 'stage_strides', (1,)), *getattr(backbone, 'out_strides', (1,)))
    options: Any = dict(args=(torch.cat([images] * 2),), strict=False)
    batch: dict[int, Any] = {0: torch.export.Dim('batch')}
    if all(length % stride == 0 for length in images.shape[-2:]):
        last = images.dim() - 1
        sizes = {
            axis: stride * torch.export.Dim(name)
            for axis, name in ((last - 1, 'height'), (last, 'width'))
        }
        # Where a part of a model turns a length into a number the graph would be wrong elsewhere.
        other = torch.cat([F.pad(images, (0, 2 * stride, 0, stride), value=0.5)] * 3)
        try:
            program = torch.export.export(network, dynamic_shapes=({**batch, **sizes},), **options)
            for out, own_out in zip(program.module()(other), network(other), strict=True):
                torch.testing.assert_close(out, own_out)
            return program, stride
        except (AssertionError, RuntimeError, torch._dynamo.exc.UserError):
            pass
    return torch.export.export(network, dynamic_shapes=(batch,), **options), None


def compare(network: nn.Module, session: Any, inputs: Tensor) -> str:
    """Run images through torch and onnxruntime, one by one, and say how far they are apart.

    Args:
        network: What was exported.
        session: The session of onnxruntime.
        inputs: The images.
    """
    most, off, total = 0.0, 0, 0
    for images in inputs.split(1):
        for own, theirs in zip(network(images), run_session(session, images), strict=True):
            difference = (own - theirs).abs() / own.abs().clamp(min=1)
            most = max(most, float(difference.max()))
            off, total = off + int((difference > TOLERANCE).sum()), total + own.numel()
    line = f'onnxruntime against torch on {len(inputs)} images: at most {most:.2g} apart'
    if off:
        line += (
            f', and {off / total:.2%} of the values by more than {TOLERANCE:g}: a potential lay so '
            'near a threshold that the order of a sum decides whether a spike fires, and what '
            'follows differs with it'
        )
    return line


def run_session(session: Any, images: Tensor) -> list[Tensor]:
    """Run images through a session of onnxruntime, and return its outputs in their order."""
    return [torch.from_numpy(out) for out in session.run(None, {'images': images.numpy()})]


def _metadata(model: Any) -> dict[str, str]:
    """What a runtime must know to make the input of an image: as loaded, B, G, R, from 0 to 255."""
    told = {'time_steps': str(find_time_steps(model))}
    preprocessor = getattr(model, 'data_preprocessor', None)
    for name in ('mean', 'std'):
        values = getattr(preprocessor, name, None)
        if values is not None:
            told[name] = ', '.join(f'{value:.6g}' for value in values.flatten().tolist())
    swaps = ('_channel_conversion', 'channel_conversion', 'to_rgb')
    swapped = any(getattr(preprocessor, name, False) for name in swaps)
    return {**told, 'channels': 'RGB' if swapped else 'as loaded'}
