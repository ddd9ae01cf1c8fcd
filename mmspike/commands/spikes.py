"""Show where and how often a network fires."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.backbone import LayerNames, find_backbone
from mmspike.analysis.spike_pictures import draw_heat_maps, draw_rates, save, write_rates
from mmspike.commands.media import find_images, is_video, make_folder, picture_parser
from mmspike.errors import UserError
from mmspike.hosts.inferencers import HostModel


def spikes(argv: Sequence[str] | None = None) -> None:
    """Draw where a network fires for one image, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        UserError: If the command, the config, the checkpoint or the image is not usable, or the
            model does not spike.
    """
    parser = picture_parser('Show where and how often a spiking network fires for one image')
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file; without it the weights are the initial ones'
    )
    parser.add_argument('image', help='image file')
    args = parser.parse_args(argv)
    if Path(args.image).is_dir() or is_video(args.image):
        raise UserError(f"'{args.image}' is not one image, which spikes are shown for; name one.")
    (path,) = find_images(args.image)
    out_dir = args.out_dir or Path('work_dirs', Path(args.config).stem, 'spikes')
    host = HostModel(args.config, args.checkpoint, args.device, args.cfg_options)
    recorder = draw_spikes(host, host.read(path), out_dir)
    rates = {name: float(rate.mean()) for name, rate in recorder.rates.items()}
    silent = [name for name, rate in rates.items() if rate == 0]
    mean = sum(rates.values()) / len(rates)
    print(f'{len(rates)} neuron layers fire at {100 * mean:.1f} % on average; {len(silent)} silent')
    if not args.checkpoint:
        print('no checkpoint was given: these are the spikes of an untrained network')
    print(f"heat_maps.png, firing_rates.png, .json and .csv are in '{out_dir}'")


def draw_spikes(host: HostModel, image: np.ndarray, out_dir: str | Path) -> FiringRateRecorder:
    """Run a model on an image, and draw where and how often its neurons fire.

    Args:
        host: The model.
        image: The image in BGR, ``[H, W, 3]``.
        out_dir: Where to write ``heat_maps.png``, ``firing_rates.png``, ``firing_rates.json`` and
            ``firing_rates.csv``.

    Returns:
        The recorder.

    Raises:
        UserError: If the model has no neurons that spike, or `out_dir` cannot be made.
    """
    names = LayerNames(host.model)
    recorder, picture, size = record_maps(host.model, lambda: host.predict(image))
    heat_maps = draw_heat_maps(recorder, names, picture, size)
    folder = make_folder(Path(out_dir))
    save(heat_maps, folder / 'heat_maps.png')
    save(draw_rates(recorder.rates, names), folder / 'firing_rates.png')
    write_rates(recorder.rates, recorder.not_run, names, folder)
    return recorder


def record_maps(
    model: nn.Module, run: Callable[[], Any]
) -> tuple[FiringRateRecorder, np.ndarray, Sequence[int]]:
    """Record where the neurons of a model's backbone fire while it runs on one image.

    Args:
        model: The model.
        run: Runs it, and returns the data sample.

    Returns:
        The recorder; what the network saw, in RGB without padding, ``[H, W, 3]``; and its height
        and width with padding.

    Raises:
        UserError: If the model has no neurons that spike.
    """
    names = LayerNames(model)
    test_cfg: Any = getattr(model, 'test_cfg', None)
    slides = test_cfg is not None and test_cfg.get('mode') == 'slide'
    if test_cfg is not None and slides:
        test_cfg.mode = 'whole'  # The maps of several windows could not be told apart.
    seen: list[Tensor] = []
    handle = find_backbone(model)[1].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    try:
        with FiringRateRecorder(model, keep_map=names.in_block) as recorder:
            sample = run()
    finally:
        handle.remove()
        if test_cfg is not None and slides:
            test_cfg.mode = 'slide'
    picture = _as_seen(model, seen[0])
    height, width = sample.metainfo.get('img_shape', picture.shape)[:2]
    return recorder, picture[:height, :width], picture.shape[:2]


def _as_seen(model: nn.Module, x: Tensor) -> np.ndarray:
    """Turn the normalized input ``[1, C, H, W]`` back into a picture in RGB, ``[H, W, 3]``."""
    preprocessor: Any = model.data_preprocessor
    x = x[0].cpu()
    if getattr(preprocessor, '_enable_normalize', False):
        x = x * preprocessor.std.cpu() + preprocessor.mean.cpu()
    picture = x.permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()
    if picture.shape[2] == 1:
        return picture.repeat(3, axis=2)
    names = '_channel_conversion', 'channel_conversion', 'to_rgb'  # mmdet, mmseg, mmpretrain.
    is_rgb = any(getattr(preprocessor, name, False) for name in names)
    return picture if is_rgb else picture[..., ::-1]
