"""Build models, and batches of noise, for the commands energy, check and benchmark."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmspike.checkpoint import load_checkpoint_file
from mmspike.engine.building import name_misspellings
from mmspike.engine.config import sequence_loader
from mmspike.engine.weights import check_fits
from mmspike.errors import UserError

SAMPLES = dict(
    mmdet=('mmdet.structures', 'DetDataSample'),
    mmseg=('mmseg.structures', 'SegDataSample'),
    mmpretrain=('mmpretrain.structures', 'DataSample'),
)


@name_misspellings()
def build_model(config: Config, scope: str, checkpoint: str | Path | None, device: str) -> Any:
    """Build the model of a config in evaluation mode.

    Args:
        config: The config.
        scope: Its library.
        checkpoint: A checkpoint file; None leaves the model as it is built.
        device: Where to put it.

    Raises:
        UserError: If the config misspells a type or an argument, or the checkpoint does not fit.
    """
    with DefaultScope.overwrite_default_scope(scope):
        model = revert_sync_batchnorm(MODELS.build(config.model))
    if checkpoint:
        check_fits(model, load_checkpoint_file(checkpoint), checkpoint)
    return model.to(device).eval()


def noise_batch(config: Config, scope: str, size: int | tuple[int, int], count: int = 1) -> dict:
    """Make a batch of noise, of pictures or sequences as the config's model takes.

    Args:
        config: The config.
        scope: Its library.
        size: Height and width in pixels, or one number for both.
        count: How many pictures or sequences.

    Returns:
        What ``model.test_step`` takes.

    Raises:
        UserError: If `size` is not positive.
    """
    shape = (size, size) if isinstance(size, int) else tuple(size)
    if min(shape) < 1:
        raise UserError(
            f'--size is {size}, but an image has at least 1 pixel; give its size, such as 224.'
        )
    backbone = config.model.backbone
    channels = backbone.get('in_channels', 3)
    frames = [backbone.time_steps] if sequence_loader(config) else []
    module, name = SAMPLES[scope]
    kind = getattr(import_module(module), name)
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[
            torch.randint(0, 256, (*frames, channels, *shape), generator=generator).to(torch.uint8)
            for _ in range(count)
        ],
        data_samples=[kind(metainfo=meta) for _ in range(count)],
    )


def training_batch(config: Config, scope: str, size: tuple[int, int], count: int) -> dict:
    """Make a batch of noise with made-up truth, for a training iteration.

    Args:
        config: The config.
        scope: Its library.
        size: Height and width in pixels.
        count: How many pictures or sequences.

    Returns:
        What ``model.data_preprocessor`` takes.
    """
    batch = noise_batch(config, scope, size, count)
    height, width = size
    for sample in batch['data_samples']:
        if scope == 'mmpretrain':
            sample.set_gt_label(0)
        elif scope == 'mmseg':
            labels = torch.zeros(1, height, width, dtype=torch.long)
            labels[:, :, width // 2 :] = 1
            sample.gt_sem_seg = PixelData(data=labels)
        else:
            sample.gt_instances = _two_boxes(height, width)
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            )
    return batch


def _two_boxes(height: int, width: int) -> InstanceData:
    from mmdet.structures.mask import BitmapMasks

    masks = np.zeros((2, height, width), np.uint8)
    masks[0, : height // 2, : width // 2] = 1
    masks[1, height // 4 :, width // 4 :] = 1
    boxes = [[0, 0, width // 2, height // 2], [width // 4, height // 4, width, height]]
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.zeros(2, dtype=torch.long),
        masks=BitmapMasks(masks, height, width),
    )
