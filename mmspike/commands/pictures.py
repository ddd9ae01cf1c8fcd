"""Pictures of the truth and what a model found, side by side."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer

from mmspike.errors import UserError

GAP = 8
MAX_WIDTH = 900
WHITE, INK = 255, (40, 40, 40)
LINE = 24  # Height of a line of text, in pixels.
HEADINGS = ('image', 'truth', 'prediction')


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
    tiles = [
        _draw(runner, sample, folder, enlarge, score_threshold)
        for sample in islice(_predictions(runner), count)
    ]
    return _write(_arrange(tiles, columns), folder / 'overview.png')


@torch.no_grad()
def draw_label_maps(
    runner: Runner, folder: str | Path, count: int = 12, columns: int = 2, enlarge: int = 2
) -> Path:
    """Draw the first test images, each beside its true and its predicted label map, with a legend.

    Args:
        runner: A runner of mmseg with a trained model and a test dataloader.
        folder: Where to write one picture an image, and all of them as ``overview.png``.
        count: How many images.
        columns: How many of them stand beside each other in the overview.
        enlarge: How many times to enlarge small images.

    Returns:
        The path of the overview.

    Raises:
        UserError: If the test dataset is empty.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    meta = runner.test_dataloader.dataset.metainfo
    # White is what belongs to no class.
    colours = np.full((256, 3), WHITE, np.uint8)
    colours[: len(meta['classes'])] = np.array(meta['palette'])[:, ::-1]
    tiles, shown = [], set()
    for sample in islice(_predictions(runner), count):
        maps = [element.data[0].numpy() for element in (sample.gt_sem_seg, sample.pred_sem_seg)]
        image = read_as_loaded(sample.img_path, sample.ori_shape)[..., ::-1]
        panels = [image, *(colours[ids] for ids in maps)]
        tile = _beside([_enlarge_image(panel, enlarge) for panel in panels])
        own = set(np.unique(maps).tolist())
        _write(_explain([tile], 1, own, meta, colours), folder / _file_name(sample))
        tiles.append(tile)
        shown |= own
    return _write(_explain(tiles, columns, shown, meta, colours), folder / 'overview.png')


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


def draw_as_loaded(visualizer: Visualizer) -> None:
    """Let a visualizer draw on images as they were loaded: hosts' hooks read them once more.

    Args:
        visualizer: A visualizer of mmdet, mmseg or mmpretrain, changed in place.
    """
    draw = visualizer.add_datasample

    def add_datasample(name: str, image: np.ndarray, data_sample: Any, **kwargs: Any) -> None:
        shape = data_sample.get('ori_shape', image.shape[:2])
        if image.shape[:2] != tuple(shape):
            image = read_as_loaded(data_sample.img_path, shape)
        draw(name, image, data_sample=data_sample, **kwargs)

    visualizer.add_datasample = add_datasample


def _file_name(sample: BaseDataElement) -> str:
    return Path(sample.img_path).with_suffix('.png').name


def _enlarge_image(image: np.ndarray, factor: int) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def _draw(
    runner: Runner, sample: BaseDataElement, folder: Path, enlarge: int, threshold: float
) -> np.ndarray:
    image = _enlarge_image(read_as_loaded(sample.img_path, sample.ori_shape), enlarge)
    found = sample.pred_instances
    file = folder / _file_name(sample)
    panels = [
        _draw_panel(runner.visualizer, image, _enlarge(instances, enlarge), file)
        for instances in (sample.gt_instances, found[found.scores >= threshold])
    ]
    _write(np.hstack(panels)[..., ::-1], file)
    return mmcv.imread(str(file))


def _draw_panel(
    visualizer: Visualizer, image: np.ndarray, instances: InstanceData, file: Path
) -> np.ndarray:
    """Draw instances, masks in the colours of their classes: mmdet gives each its own."""
    masks, palette = instances.pop('masks', ()), visualizer.dataset_meta['palette']
    colours = [tuple(palette[label]) for label in instances.labels]
    # A box that reaches beyond the image would make the panel larger than its neighbour.
    height, width = image.shape[:2]
    instances.bboxes[:, 0::2] = instances.bboxes[:, 0::2].clamp(0, width - 1)
    instances.bboxes[:, 1::2] = instances.bboxes[:, 1::2].clamp(0, height - 1)
    visualizer.set_image(image)
    if len(masks):
        visualizer.draw_binary_masks(masks, colors=colours, alphas=visualizer.alpha)
    sample = BaseDataElement(gt_instances=instances)
    visualizer.add_datasample(
        '', visualizer.get_image(), sample, draw_pred=False, out_file=str(file)
    )
    return visualizer.get_image()


def _enlarge(instances: InstanceData, factor: int) -> InstanceData:
    """Enlarge boxes ``[N, 4]``, and masks ``[N, H, W]`` if there are any."""
    enlarged = InstanceData(labels=instances.labels)
    if 'scores' in instances:
        enlarged.scores = instances.scores
    boxes = instances.bboxes
    enlarged.bboxes = getattr(boxes, 'tensor', boxes) * factor
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.numpy()
        enlarged.masks = masks.astype(bool).repeat(factor, 1).repeat(factor, 2)
    return enlarged


def _arrange(tiles: Sequence[np.ndarray], columns: int, gap: int = GAP) -> np.ndarray:
    """Put the pictures on one sheet, all as wide as the widest within reason."""
    width = min(max(tile.shape[1] for tile in tiles), MAX_WIDTH)
    tiles = [mmcv.imresize(tile, (width, tile.shape[0] * width // tile.shape[1])) for tile in tiles]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    height = [max(tile.shape[0] for tile in row) + gap for row in rows]
    sheet = np.full((sum(height), columns * (width + gap), 3), WHITE, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = sum(height[:i]), j * (width + gap)
            sheet[y : y + tile.shape[0], x : x + width] = tile
    return sheet[:-gap, :-gap]


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], GAP, 3), WHITE, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])


def _explain(
    tiles: Sequence[np.ndarray], columns: int, shown: set[int], meta: dict, colours: np.ndarray
) -> np.ndarray:
    """Arrange pictures under their headings and above the legend of the classes they show."""
    columns = min(columns, len(tiles))
    gap = 2 * GAP
    sheet = _arrange(tiles, columns, gap)
    heading = np.full((LINE, sheet.shape[1], 3), WHITE, np.uint8)
    column = (sheet.shape[1] + gap) // columns
    for x in range(0, sheet.shape[1], column):
        for panel, text in enumerate(HEADINGS):
            _write_text(heading, text, x + panel * (column - gap + GAP) // len(HEADINGS))
    names = [name if i in shown else None for i, name in enumerate(meta['classes'])]
    entries = [(name, colours[i]) for i, name in enumerate(names) if name]
    if max(shown) >= len(names):
        entries.append(('no class', colours[-1]))
    return np.vstack([heading, sheet, _legend(entries, sheet.shape[1])])


def _legend(entries: Sequence[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    lines, x = [], width
    for name, colour in entries:
        needed = 2 * LINE + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
        if x + needed > width:
            lines.append(np.full((LINE + GAP, width, 3), WHITE, np.uint8))
            x = 0
        box = lines[-1][GAP:, x : x + LINE]
        box[:] = INK
        box[1:-1, 1:-1] = colour
        _write_text(lines[-1], name, x + LINE + GAP, y=GAP)
        x += needed
    return np.vstack(lines)


def _write_text(image: np.ndarray, text: str, x: int, y: int = 0) -> None:
    place = (x, y + LINE - GAP)
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)


def _write(image: np.ndarray, path: Path) -> Path:
    mmcv.imwrite(image, str(path))
    return path
