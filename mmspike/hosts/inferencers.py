"""The inferencers of mmdet, mmseg and mmpretrain, with mmspike's configs and checkpoints.

They build the model, the pipeline and the batch, and run the model. What mmspike changes: a
checkpoint is read as plain data and must fit, and the image is read by mmspike's loader first,
which names a broken file. A library is imported when a config asks for it.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn

from mmspike.checkpoint import (
    load_checkpoint_file,
    plain_data_only,
)
from mmspike.checks.frames import check_pipeline
from mmspike.checks.misspelt import name_misspellings
from mmspike.checks.weights import (
    check_fits,
    check_pretrained,
    pretrained_backbones,
    pretrained_files,
    start_without_pretrained,
)
from mmspike.compat import make_torchvision_importable
from mmspike.config import load_config
from mmspike.datasets.transforms import LoadImageFromFile
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.hosts import Library, library_of
from mmspike.hosts.library import require_pictures, test_dataset
from mmspike.process import use_cpu_well

STOCK_LOADER = 'LoadImageFromFile'
KINDS = (list, tuple, str)  # Of classes and palettes; mmdet names palettes by a word.


class HostModel:
    """A model of mmdet, mmseg or mmpretrain, run by its library's own inferencer.

    Args:
        config: A config file, or a config that is loaded already.
        checkpoint: A checkpoint file; None leaves the model as it is initialized.
        device: Where to run, such as ``'cpu'`` or ``'cuda:0'``; None takes a GPU if there is one.
        cfg_options: Settings of the config to override.

    Raises:
        UserError: If the config, the checkpoint or the device cannot be used, or the config's
            library is not installed.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None,
        device: str | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        make_torchvision_importable()
        self.device = use_device(device)
        if not isinstance(config, Config):
            config = load_config(config, cfg_options)
        self.library = library_of(config)
        weights = load_checkpoint_file(checkpoint) if checkpoint else None
        config = inference_config(config, self.library)
        loader, *steps = config.test_dataloader.dataset.pipeline
        # Files of this machine need no backend.
        options = {k: v for k, v in loader.items() if k not in ('type', 'backend_args')}
        self._loader = LoadImageFromFile(**options)
        with DefaultScope.overwrite_default_scope(self.library.name), name_misspellings(config):
            self._inferencer = self.library.build_inferencer(config, self.device)
            self.meta = dataset_meta(config, weights, self.library)
            check_pipeline(steps, self.library.name)
            self.label_info = self.library.label_info(config.test_dataloader.dataset)
        self.model: nn.Module = revert_sync_batchnorm(self._inferencer.model).eval()
        if weights and checkpoint:
            check_fits(self.model, weights, checkpoint)
        else:
            _initialize(self.model, config)

    def merge(self, form: str) -> None:
        """Go on with the model in a form of `mmspike.deploy.reparameterize`."""
        for name, child in reparameterize(self.model, form).named_children():
            setattr(self.model, name, child)  # The inferencer keeps the model that it built.

    def read(self, path: str | Path) -> np.ndarray:
        """Read an image as the config's test pipeline does, ``[H, W, C]`` in BGR.

        Args:
            path: An image file.

        Raises:
            UserError: If it is absent, truncated or no image.
        """
        results: Any = self._loader.transform({'img_path': str(path)})
        return results['img']

    def predict(self, image: np.ndarray) -> Any:
        """Run the model on one image.

        Args:
            image: The image in BGR, ``[H, W, C]``.

        Returns:
            The data sample of the library, on the CPU.

        Raises:
            UserError: If it is no image, or one that pipeline or model cannot take.
        """
        batch = self.library.batch_for(self._prepare(image))
        (sample,) = self._inferencer.forward(batch)
        return sample.cpu()

    def _prepare(self, image: np.ndarray) -> Any:
        shape: tuple[int, ...] = getattr(image, 'shape', ())
        kind = getattr(image, 'dtype', type(image).__name__)
        numbers = isinstance(kind, np.dtype) and kind.kind in 'uif'
        if not numbers or not image.size or image.ndim not in (2, 3):
            raise UserError(
                f'the image is {kind} of shape {shape}, but it must be an array of numbers '
                '[H, W, C] with a pixel or more; give one, a file, or the images of a batch as a '
                'list.'
            )
        try:
            return next(iter(self._inferencer.preprocess([image])))
        except cv2.error as error:
            raise UserError(
                f'the test pipeline cannot transform an image of {shape[1]}x{shape[0]} pixels of '
                f'{kind} (OpenCV: {error.err or str(error).strip()}); give 8-bit or float images '
                'no longer than Resize can shrink, or change test_dataloader.dataset.pipeline.'
            ) from error


def use_device(device: str | None) -> str:
    """Return `device`, or the best one of this machine for None, and set the process up for it.

    Raises:
        UserError: If this machine has no such device.
    """
    device = device or get_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f'--device is {device!r}, which this machine does not offer to torch; use cpu, or '
            'cuda:0 on a machine with a GPU.'
        ) from error
    if device.startswith('cpu'):
        use_cpu_well()
    return device


def inference_config(config: Config, library: Library) -> Config:
    """Copy a config and reduce it to what a stock inferencer reads.

    The inferencers look for a loader by its stock name, at ``test_dataloader.dataset.pipeline``,
    and take no annotations.

    Args:
        config: A config of the host library.
        library: The library.

    Raises:
        UserError: If the config has no test pipeline that begins with the loading of an image, or
            it tests on sequences.
    """
    require_pictures(config, 'this command')
    config = config.copy()
    dataset = test_dataset(config)
    pipeline = [dict(t) for t in dataset.get('pipeline') or []]
    pipeline = [t for t in pipeline if 'Annotation' not in _own_name(t)]
    if not pipeline or _own_name(pipeline[0]) != STOCK_LOADER:
        raise UserError(
            'test_dataloader.dataset.pipeline of the config must begin with '
            f'mmspike.{STOCK_LOADER} to take pictures in, but it '
            f'{"begins with " + _own_name(pipeline[0]) if pipeline else "is absent"}; set it there.'
        )
    pipeline[0]['type'] = STOCK_LOADER
    config.test_dataloader = dict(dataset=dict(dataset, pipeline=pipeline))
    # Backends would make folders of their own; the pictures are drawn by mmspike.
    config.visualizer = dict(type=library.visualizer)
    return config


def _own_name(transform: dict) -> str:
    kind = transform['type']
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def dataset_meta(config: Config, checkpoint: dict | None, library: Library) -> dict:
    """Find the names and colours of the classes: the checkpoint's, else those of the test dataset.

    Args:
        config: What `inference_config` returned.
        checkpoint: The checkpoint, or None.
        library: The library.

    Returns:
        The keys ``classes`` and ``palette``; one that neither of them gives is left out.
    """
    own = (checkpoint or {}).get('meta', {}).get('dataset_meta')
    own = {str(k).lower(): v for k, v in own.items()} if isinstance(own, Mapping) else {}
    own = {k: own[k] for k in ('classes', 'palette') if own.get(k) and isinstance(own[k], KINDS)}
    if len(own) == 2:
        return own
    dataset = config.test_dataloader.dataset
    kind = library.dataset_type(dataset)
    found = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    return {**{key: found[key] for key in ('classes', 'palette') if found.get(key)}, **own}


def _initialize(model: Any, config: Config) -> None:
    """Initialize a model that has no checkpoint, from files that its config names if so."""
    for path in pretrained_files(config.model):
        load_checkpoint_file(path)
    files = [Path(backbone.pretrained) for backbone in pretrained_backbones(model)]
    if not all(file.expanduser().is_file() for file in files):
        start_without_pretrained(model, 'it is not there', logging.WARNING)
    check_pretrained(model)
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # mmengine would list every parameter.
    try:
        with plain_data_only():
            model.init_weights()
    finally:
        logging.disable(before)
