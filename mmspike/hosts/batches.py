"""Build models, and batches of noise, for the commands energy, check and benchmark."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from mmspike.checkpoint import load_checkpoint_file
from mmspike.checks.misspelt import name_misspellings
from mmspike.checks.weights import check_fits
from mmspike.errors import UserError
from mmspike.hosts import Library
from mmspike.hosts.library import sequence_loader


def build_model(
    config: Config, library: Library, checkpoint: str | Path | None, device: str
) -> Any:
    """Build the model of a config in evaluation mode.

    Args:
        config: The config.
        library: Its library.
        checkpoint: A checkpoint file; None leaves the model as it is built.
        device: Where to put it.

    Raises:
        UserError: If the config misspells a type or an argument, or the checkpoint does not fit.
    """
    with DefaultScope.overwrite_default_scope(library.name), name_misspellings(config):
        model = revert_sync_batchnorm(MODELS.build(config.model))
    if checkpoint:
        check_fits(model, load_checkpoint_file(checkpoint), checkpoint)
    return model.to(device).eval()


def noise_batch(
    config: Config, library: Library, size: int | tuple[int, int], count: int = 1
) -> dict:
    """Make a batch of noise, of pictures or sequences as the config's model takes.

    Args:
        config: The config.
        library: Its library.
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
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[
            torch.randint(0, 256, (*frames, channels, *shape), generator=generator).to(torch.uint8)
            for _ in range(count)
        ],
        data_samples=[library.make_sample(**meta) for _ in range(count)],
    )


def training_batch(config: Config, library: Library, size: tuple[int, int], count: int) -> dict:
    """Make a batch of noise with made-up truth, for a training iteration.

    Args:
        config: The config.
        library: Its library.
        size: Height and width in pixels.
        count: How many pictures or sequences.

    Returns:
        What ``model.data_preprocessor`` takes.
    """
    batch = noise_batch(config, library, size, count)
    for sample in batch['data_samples']:
        library.add_truth(sample, *size)
    return batch
