"""Pictures of the truth and what a detector found, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmspike.errors import UserError

GAP = 8
MAX_WIDTH = 900


@torch.no_grad()
def draw_detections(
    runner: Runner,
    folder: str | Path,
    count: int = 12,
    columns: int = 3,
    enlarge: int = 3,
    score_threshold: float = 0.5,
) -> Path:
    """Draw the first test images, each with the truth on its left and the predictions on its right.

    Args:
        runner: A runner of mmdet with a trained model and a test dataloader.
        folder: Where to write one picture an image, and all of them as ``overview.png``.
        count: How many images.
        columns: How many of them stand beside each other in the overview.
        enlarge: How many times to enlarge small images, so that labels leave room.
        score_threshold: Predictions below this score are left out.

    Returns:
        The path of the overview.

    Raises:
        UserError: If the test dataset is empty.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    runner.visualizer.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.model.eval()
    tiles = []
    for batch in runner.test_dataloader:
        for sample in runner.model.test_step(batch):
            tiles.append(_draw(runner, sample, folder, enlarge, score_threshold))
            if len(tiles) == count:
                return _write_overview(tiles, columns, folder)
    if not tiles:
        raise UserError('the test dataset holds no image, so there is nothing to draw.')
    return _write_overview(tiles, columns, folder)


def _draw(runner: Runner, sample, folder: Path, enlarge: int, threshold: float) -> np.ndarray:
    sample = sample.cpu()
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    image = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_NEAREST)
    found = sample.pred_instances
    sample.pred_instances = _enlarge(found[found.scores >= threshold], enlarge)
    sample.gt_instances = _enlarge(sample.gt_instances, enlarge)
    file = folder / Path(sample.img_path).with_suffix('.png').name
    runner.visualizer.add_datasample(
        'shapes', image, data_sample=sample, pred_score_thr=threshold, out_file=str(file)
    )
    return mmcv.imread(str(file))


def _enlarge(instances: InstanceData, factor: int) -> InstanceData:
    """Enlarge boxes ``[N, 4]`` and masks ``[N, H, W]``."""
    enlarged = InstanceData(labels=instances.labels)
    if 'scores' in instances:
        enlarged.scores = instances.scores
    boxes = instances.bboxes
    enlarged.bboxes = getattr(boxes, 'tensor', boxes) * factor
    masks = instances.masks
    masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.numpy()
    enlarged.masks = masks.astype(bool).repeat(factor, 1).repeat(factor, 2)
    return enlarged


def _write_overview(tiles: Sequence[np.ndarray], columns: int, folder: Path) -> Path:
    """Put the pictures on one sheet, all as wide as the widest within reason."""
    width = min(max(tile.shape[1] for tile in tiles), MAX_WIDTH)
    tiles = [mmcv.imresize(tile, (width, tile.shape[0] * width // tile.shape[1])) for tile in tiles]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    height = [max(tile.shape[0] for tile in row) + GAP for row in rows]
    sheet = np.full((sum(height), columns * (width + GAP), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = sum(height[:i]), j * (width + GAP)
            sheet[y : y + tile.shape[0], x : x + width] = tile
    path = folder / 'overview.png'
    mmcv.imwrite(sheet[:-GAP, :-GAP], str(path))
    return path
