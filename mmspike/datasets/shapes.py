"""A seeded dataset of drawn shapes with exact visible masks, in the layouts of COCO and mmseg."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .generated import MANIFEST, SPLITS, check_arguments, is_there, written_whole

CLASSES = ('circle', 'rectangle', 'triangle')
# Of the label maps: the background, then the classes.
PALETTE = ((235, 235, 235), (220, 20, 60), (0, 160, 90), (60, 90, 220))
MASKS = 'masks'
MAX_OBJECTS = 4
EMPTY_SHARE = 0.05
# Below this visible share a shape is left out of the picture: nobody could name it.
MIN_VISIBLE = 0.5


def generate_shapes(
    root: str | Path, num_train: int = 800, num_val: int = 100, size: int = 128, seed: int = 0
) -> Path:
    """Write a dataset of circles, rectangles and triangles, with instances and label maps.

    The instances are in COCO's layout. The label maps are in mmseg's: palette PNGs of the ids
    0 (background), 1 (circle), 2 (rectangle) and 3 (triangle).

    Image i of a split depends on ``seed``, ``size`` and i alone, so a larger dataset begins
    with the smaller one. A folder that holds the same dataset already is returned as it is, or gets
    the label maps that older versions did not write.

    Args:
        root: Folder of the dataset; must be absent, empty or hold the same dataset.
        num_train: Images in ``train/``, ``annotations/instances_train.json`` and ``masks/train/``.
        num_val: Images in ``val/``, ``annotations/instances_val.json`` and ``masks/val/``.
        size: Height and width of every image in pixels.
        seed: Chooses another dataset of the same kind.

    Raises:
        UserError: If an argument is out of range or ``root`` holds anything else.
    """
    root = Path(root)
    counts = dict(zip(SPLITS, (num_train, num_val), strict=True))
    check_arguments(counts, size, seed)
    manifest = dict(generator='mmspike.shapes', version=1, **counts, size=size, seed=seed)
    masks = root / MASKS
    found = is_there(root, manifest)
    if found and masks.is_dir():
        return root
    target, write = (masks, _write_label_maps) if found else (root, _write_split)
    root.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target, lambda: is_there(root, manifest) and masks.is_dir()) as draft:
        for split, count in counts.items():
            write(draft, split, _scenes(split, count, size, seed))
        if not found:
            (draft / MANIFEST).write_text(json.dumps(manifest))
    return root


def _scenes(split: str, count: int, size: int, seed: int) -> Iterator[tuple]:
    """Yield file name, image and instances of every picture of a split."""
    for index in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        yield f'{index + 1:06d}.png', *draw_scene(rng, size)


def _write_split(draft: Path, split: str, scenes: Iterable[tuple]) -> None:
    """Write images, annotations in COCO's layout, and label maps."""
    for folder in (split, f'{MASKS}/{split}'):
        (draft / folder).mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for number, (name, image, instances) in enumerate(scenes, 1):
        cv2.imwrite(str(draft / split / name), image)
        _write_label_map(draft / MASKS / split / name, image.shape[:2], instances)
        height, width = image.shape[:2]
        images.append(dict(id=number, file_name=name, height=height, width=width))
        for category, mask in instances:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=category + 1,
                    iscrowd=0,
                    **_encode(mask),
                )
            )
    coco = dict(
        info=dict(description='mmspike shapes', version='1'),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=i + 1, name=name, supercategory='shape') for i, name in enumerate(CLASSES)
        ],
    )
    path = draft / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco))


def _write_label_maps(draft: Path, split: str, scenes: Iterable[tuple]) -> None:
    folder = draft / split
    folder.mkdir(parents=True)
    for name, image, instances in scenes:
        _write_label_map(folder / name, image.shape[:2], instances)


def _write_label_map(path: Path, shape: tuple[int, int], instances: list) -> None:
    ids = np.zeros(shape, np.uint8)
    for category, mask in instances:  # They share no pixel.
        ids[mask] = category + 1
    label_map = Image.fromarray(ids)
    label_map.putpalette(np.array(PALETTE, np.uint8).tobytes())
    label_map.save(path)


def _encode(mask: np.ndarray) -> dict:
    # Imported here because only mmdet, which is optional, brings pycocotools along.
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(
        segmentation=dict(size=list(rle['size']), counts=rle['counts'].decode('ascii')),
        bbox=coco_mask.toBbox(rle).tolist(),
        area=int(coco_mask.area(rle)),
    )


def draw_scene(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list]:
    """Draw one picture.

    Args:
        rng: The only source of randomness.
        size: Height and width in pixels.

    Returns:
        The BGR image [size, size, 3] and, from back to front, pairs of class index and
        boolean mask [size, size] of the pixels that show the shape.
    """
    y, x = np.mgrid[:size, :size].astype(np.float64)
    canvas = _background(rng, x / size, y / size)
    count = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MAX_OBJECTS + 1))
    shapes = [_random_shape(rng, x, y, size) for _ in range(count)]
    covered = np.zeros((size, size), bool)
    instances = []
    for category, depth, colour in reversed(shapes):
        full = depth <= 0
        visible = full & ~covered
        if visible.sum() < MIN_VISIBLE * full.sum():
            continue
        _paint(canvas, visible, depth, colour, (x + y) / (2 * size))
        covered |= full
        instances.append((category, visible))
    image = canvas + rng.normal(0, rng.uniform(2, 9), canvas.shape)
    return image.round().clip(0, 255).astype(np.uint8), instances[::-1]


def _background(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Blend two muted colours along a gradient, stripes or soft blobs."""
    first, second = _colour(rng, (0.05, 0.35)), _colour(rng, (0.05, 0.35))
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = rng.integers(3)
    if kind == 0:
        blend = (along - along.min()) / (along.max() - along.min())
    elif kind == 1:
        blend = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 7) * along)
    else:
        coarse = rng.random((rng.integers(3, 9), rng.integers(3, 9)))
        blend = cv2.resize(coarse, x.shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return first + blend[..., None] * (second - first)


def _colour(rng: np.random.Generator, saturation: tuple[float, float]) -> np.ndarray:
    hsv = [rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(0.3, 1)]
    return (
        cv2.cvtColor(np.array([[hsv]], np.float32), cv2.COLOR_HSV2BGR)[0, 0].astype(np.float64)
        * 255
    )


def _random_shape(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: int) -> tuple:
    """Choose a shape and give its class, its depth map (<= 0 inside, in pixels) and its colour."""
    category = int(rng.integers(len(CLASSES)))
    radius = size * rng.uniform(0.12, 0.28)
    margin = 0.4 * radius
    dx = x - rng.uniform(margin, size - 1 - margin)
    dy = y - rng.uniform(margin, size - 1 - margin)
    turn = rng.uniform(0, 2 * np.pi)
    if category == 0:
        depth = np.hypot(dx, dy) - radius
    elif category == 1:
        u = dx * np.cos(turn) + dy * np.sin(turn)
        v = dy * np.cos(turn) - dx * np.sin(turn)
        depth = np.maximum(abs(u) - radius, abs(v) - radius * rng.uniform(0.4, 1))
    else:
        # Outward normals about 120 degrees apart at half the radius: a triangle in the circle.
        normals = turn + np.radians([0, 120, 240]) + rng.uniform(-0.25, 0.25, 3)
        depth = np.max([dx * np.cos(a) + dy * np.sin(a) - 0.6 * radius for a in normals], axis=0)
    return category, depth, _colour(rng, (0.6, 1))


def _paint(
    canvas: np.ndarray,
    visible: np.ndarray,
    depth: np.ndarray,
    colour: np.ndarray,
    light: np.ndarray,
) -> None:
    """Fill the visible pixels with a soft light from the upper left and a dark rim."""
    shade = 1.15 - 0.4 * light
    shade = np.where(depth > -1.5, 0.55 * shade, shade)
    canvas[visible] = colour * shade[visible, None]
