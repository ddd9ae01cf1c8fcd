"""Sheets of pictures with truth and prediction side by side, as the libraries' visualizers draw."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmengine.visualization import Visualizer

from mmspike.errors import UserError
from mmspike.hosts.outputs import picture_names

OVERVIEW = 'overview'
GAP = 8
MAX_WIDTH = 900
WIDTH = 400  # Smaller pictures are enlarged, so that labels leave room.


@torch.no_grad()
def draw_predictions(
    runner: Runner,
    folder: str | Path,
    count: int = 12,
    columns: int = 3,
    enlarge: int | None = 3,
    score_threshold: float = 0.5,
) -> Path:
    """Draw the first test images, each with the truth on its left and the predictions on its right.

    Args:
        runner: A runner of mmdet or mmseg with a trained model and a test dataloader.
        folder: Where to write one picture an image, and all of them as ``overview.png``.
        count: How many images.
        columns: How many of them stand beside each other in the overview.
        enlarge: How many times to enlarge the images; None as `draw_enlarged` does.
        score_threshold: Objects below this score are left out.

    Returns:
        The path of the overview.

    Raises:
        UserError: If the test dataset is empty.
    """
    runner.visualizer.dataset_meta = runner.test_dataloader.dataset.metainfo
    names = picture_names(runner.test_dataloader.dataset, taken=[OVERVIEW])
    tiles = []
    for sample in islice(_predictions(runner), count):
        if 'pred_instances' in sample:
            found = sample.pred_instances
            sample.pred_instances = found[found.scores >= score_threshold]
        image = read_as_loaded(sample.img_path, sample.ori_shape)
        name = names.get(sample.img_path, Path(sample.img_path).stem)
        file = Path(folder, f'{name}.png')
        tiles.append(draw_enlarged(runner.visualizer, image, sample, enlarge, file))
    return write_sheet(tiles, columns, Path(folder, f'{OVERVIEW}.png'))


def _predictions(runner: Runner) -> Iterator[BaseDataElement]:
    """Yield the test images one after the other, with truth and prediction, on the CPU."""
    runner.model.eval()
    empty = True
    for batch in runner.test_dataloader:
        for sample in runner.model.test_step(batch):
            empty = False
            yield sample.cpu()
    if empty:
        raise UserError('the test dataset holds no image, so there is nothing to draw.')


def read_as_loaded(path: str, shape: Sequence[int]) -> np.ndarray:
    """Read an image in RGB as `mmspike.LoadImageFromFile` has: turned as its EXIF says, or stored.

    Args:
        path: The file.
        shape: The height and width that it was loaded with.
    """
    image = mmcv.imread(path, channel_order='rgb')
    if image.shape[:2] != tuple(shape):
        image = mmcv.imread(path, 'color_ignore_orientation', channel_order='rgb')
    return image


def draw_as_loaded(visualizer: Visualizer, dataset: Any) -> None:
    """Let a visualizer draw on images as they were loaded, and each into a file of its own.

    Hooks of the hosts read the images once more, and name the files by the last part of the path.

    Args:
        visualizer: A visualizer of mmdet, mmseg or mmpretrain, changed in place.
        dataset: The dataset that is tested, built.
    """
    names = picture_names(dataset)
    draw, draw_class = visualizer.add_datasample, getattr(visualizer, 'visualize_cls', None)

    def own_file(sample: Any, options: dict) -> dict:
        out, name = options.get('out_file'), names.get(sample.get('img_path'))
        if out and name:
            out = str(Path(out).parent / f'{name}{Path(out).suffix}')
        return {**options, 'out_file': out}

    def add_datasample(name: str, image: np.ndarray, data_sample: Any, **kwargs: Any) -> None:
        shape = data_sample.get('ori_shape', image.shape[:2])
        if image.shape[:2] != tuple(shape):
            image = read_as_loaded(data_sample.img_path, shape)
        draw(name, image, data_sample=data_sample, **own_file(data_sample, kwargs))

    def visualize_cls(image: np.ndarray, data_sample: Any, **kwargs: Any) -> None:
        assert draw_class is not None
        draw_class(image=image, data_sample=data_sample, **own_file(data_sample, kwargs))

    visualizer.add_datasample = add_datasample
    if draw_class:
        visualizer.visualize_cls = visualize_cls


def draw_enlarged(
    visualizer: Visualizer,
    image: np.ndarray,
    sample: BaseDataElement,
    factor: int | None,
    file: Path,
    **options: Any,
) -> np.ndarray:
    """Draw the objects or label maps of a sample, enlarged so that labels leave room.

    Args:
        visualizer: A visualizer of mmdet or mmseg.
        image: The image in RGB, ``[H, W, 3]``.
        sample: Has the truth, the prediction or both.
        factor: How many times to enlarge them; None makes those wide enough that are not.
        file: Where to write the picture.
        **options: For ``add_datasample`` of the visualizer.

    Returns:
        The picture as it was written, in BGR.
    """
    factor = factor or max(1, -(-WIDTH // image.shape[1]))
    size = image.shape[1] * factor, image.shape[0] * factor
    image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    shown = BaseDataElement()
    for name, part in sample.items():
        if name in ('gt_instances', 'pred_instances'):
            shown.set_field(_enlarge(part, factor, size), name)
        elif name in ('gt_sem_seg', 'pred_sem_seg'):
            ids = part.data.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            shown.set_field(PixelData(data=ids), name)
    visualizer.add_datasample('', image, shown, out_file=str(file), **options)
    return mmcv.imread(str(file))


def _enlarge(instances: InstanceData, factor: int, size: tuple[int, int]) -> InstanceData:
    """Enlarge boxes ``[N, 4]``, and masks ``[N, H, W]`` if there are any."""
    enlarged = InstanceData(labels=instances.labels)
    if 'scores' in instances:
        enlarged.scores = instances.scores
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes) * factor
    # A box that reaches beyond the image would make its panel larger than the other.
    limits = torch.tensor(size).repeat(2) - 1
    enlarged.bboxes = torch.minimum(boxes.clamp(min=0), limits.to(boxes))
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.numpy()
        enlarged.masks = masks.astype(bool).repeat(factor, 1).repeat(factor, 2)
    return enlarged


def write_sheet(tiles: Sequence[np.ndarray], columns: int, path: Path) -> Path:
    """Write pictures on one sheet, all as wide as the widest within reason.

    Args:
        tiles: The pictures, in BGR.
        columns: How many stand beside each other.
        path: The file.

    Returns:
        The file.
    """
    width = min(max(tile.shape[1] for tile in tiles), MAX_WIDTH)
    tiles = [mmcv.imresize(tile, (width, tile.shape[0] * width // tile.shape[1])) for tile in tiles]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    height = [max(tile.shape[0] for tile in row) + GAP for row in rows]
    sheet = np.full((sum(height), columns * (width + GAP), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = sum(height[:i]), j * (width + GAP)
            sheet[y : y + tile.shape[0], x : x + width] = tile
    mmcv.imwrite(sheet[:-GAP, :-GAP], str(path))
    return path
