"""Draw polygons again of which COCO's code makes other masks than their file means."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, permutations
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as masks

from mmspike.datasets.annotation_mends import warn
from mmspike.datasets.annotation_samples import is_polygon

CHUNK = 10_000  # Objects whose polygons are measured at once.
NEAR = 0.1  # Of a pixel.
FEW, SOME, MOST = 0.01, 0.1, 0.5  # Shares of all objects of a file.


@dataclass
class _Shape:
    """Polygons of one object, and what is to be known of them.

    Attributes:
        annotation: The object.
        polygons: Those of at least three points.
        start: Left upper corner around all.
        short: How much narrower and lower than the box they are.
        thin: Whether they may be so thin that they cover no pixel.
        nested: Whether the corners of one lie inside those of another.
    """

    annotation: dict
    polygons: list[list[float]]
    start: np.ndarray
    short: np.ndarray
    thin: bool
    nested: bool

    @property
    def is_a_pixel_short(self) -> bool:
        return bool((np.abs(self.short - 1) < NEAR).all())

    @property
    def is_in_its_box(self) -> bool:
        off = np.abs(self.start - self.box[:2])
        return bool((off <= 1).all() and (np.abs(self.short) <= 1 + NEAR).all())

    @property
    def box(self) -> np.ndarray:
        return np.asarray(self.annotation['bbox'], float)


def mend_masks(coco: Mapping[str, Any], path: str = '') -> None:
    """Make RLE masks of polygons that COCO's code would draw too small, filled or not at all.

    - Polygons through the centres of border pixels, as OpenCV traces them, are a pixel narrower and
      lower than their boxes: drawn with their outline. Of a file where most are so, all are.
    - A polygon inside another of its object is a hole where the area says so: COCO's code, which
      unites both, would fill it.
    - Polygons that cover no pixel and are where their box is: their outline within it.

    All others stay as they are. Crowds, RLE masks and objects of unknown pictures too.

    Args:
        coco: The content of a checked annotation file, changed in place.
        path: Of the file, for the warnings; without it there are none.
    """
    sizes = {image['id']: (image['height'], image['width']) for image in coco['images']}
    odd, traced, count = [], 0, 0
    for shape in _shapes(coco['annotations'], sizes):
        count += 1
        traced += shape.is_a_pixel_short
        if shape.is_a_pixel_short or shape.thin or shape.nested:
            odd.append(shape)
    offsets = [shape.start - shape.box[:2] for shape in odd if shape.is_a_pixel_short]
    offset = np.median(offsets, 0) if traced > SOME * count else None
    all_traced = traced > MOST * count
    drawn = dict(traced=0, holes=0, filled=0, empty=0)
    for shape in _shapes(coco['annotations'], sizes) if all_traced else odd:
        size = sizes[shape.annotation['image_id']]
        is_traced = offset is not None and (all_traced or shape.is_a_pixel_short)
        kind = _draw(shape, size, offset if is_traced else None)
        if kind:
            drawn[kind] += 1
    if path:
        _tell(drawn, count, path)


def _tell(drawn: Mapping[str, int], count: int, path: str) -> None:
    sentences = dict(
        traced='are a pixel narrower and lower than their boxes, so they run through the centres '
        'of border pixels: their outlines become part of the masks',
        holes='have holes, by their area: polygons inside others are cut out',
        filled='have polygons inside others, which are filled, as the area does not tell of holes; '
        'write masks with holes as RLE',
        empty='cover no pixel: their outlines within the boxes become the masks',
    )
    for kind, number in drawn.items():
        if number > (FEW * count if kind == 'filled' else 0):
            warn(f"{number} of the {count} polygon masks in '{path}' {sentences[kind]}.")


def _shapes(annotations: Sequence[dict], sizes: Mapping[Any, tuple[int, int]]) -> Iterator[_Shape]:
    """Measure the objects that have polygons, many at once."""
    chosen = (
        (annotation, polygons)
        for annotation in annotations
        if isinstance(annotation.get('segmentation'), list)
        and annotation['image_id'] in sizes
        and (polygons := [p for p in annotation['segmentation'] if is_polygon(p)])
    )
    while objects := list(islice(chosen, CHUNK)):
        yield from _measured(objects)


def _measured(objects: list[tuple[dict, list[list[float]]]]) -> Iterator[_Shape]:
    every = list(chain.from_iterable(polygons for _, polygons in objects))
    try:
        flat = np.fromiter(chain.from_iterable(every), float)
        boxes = np.array([annotation['bbox'] for annotation, _ in objects], float)
    except (TypeError, ValueError):
        return  # No numbers: other checks name them.
    points = flat.reshape(-1, 2)
    ends = np.cumsum([len(polygon) // 2 for polygon in every])
    starts = np.concatenate([[0], ends[:-1]])
    following = np.roll(points, -1, 0)
    following[ends - 1] = points[starts]
    cross = points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]
    areas = np.abs(np.add.reduceat(cross, starts)) / 2
    lengths = np.add.reduceat(np.hypot(*(following - points).T), starts)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    last = np.cumsum([len(polygons) for _, polygons in objects])
    first = np.concatenate([[0], last[:-1]])
    # What covers no pixel is nowhere wider than one.
    thin = np.logical_and.reduceat(areas < lengths, first)
    starts_of, ends_of = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
    short = boxes[:, 2:] - (ends_of - starts_of)
    for i, (annotation, polygons) in enumerate(objects):
        own = slice(first[i], last[i])
        nested = len(polygons) > 1 and _any_inside(low[own], high[own])
        yield _Shape(annotation, polygons, starts_of[i], short[i], bool(thin[i]), nested)


def _any_inside(low: np.ndarray, high: np.ndarray) -> bool:
    """Tell whether a box ``[low, high]`` lies in another. Shape: ``[N, 2]`` each."""
    inside: np.ndarray = np.all((low[:, None] >= low) & (high[:, None] <= high), axis=2)
    np.fill_diagonal(inside, False)
    return bool(inside.any())


def _draw(shape: _Shape, size: tuple[int, int], offset: np.ndarray | None) -> str | None:
    """Write an RLE mask where COCO's code would draw another, and say why.

    Args:
        shape: The object.
        size: Height and width of its picture.
        offset: For polygons through pixel centres, where these lie in their pixels.
    """
    if offset is not None:
        parts = [_filled([polygon], size, offset) for polygon in shape.polygons]
    else:
        parts = list(masks.decode(masks.frPyObjects(shape.polygons, *size)).transpose(2, 0, 1))
    union = np.logical_or.reduce(parts)
    kind, drawn = (None if offset is None else 'traced'), union
    if shape.nested and _has_hole(parts):
        # By the even-odd rule; an outline through pixel centres belongs to the object.
        odd = np.logical_xor.reduce(parts)
        if offset is not None:
            odd = _filled(shape.polygons, size, offset)
        told = shape.annotation['area']
        if odd.any() and abs(told - odd.sum()) < abs(told - union.sum()):
            kind, drawn = 'holes', odd
        elif offset is None:
            kind = 'filled'
    if not union.any() and shape.is_in_its_box:
        kind, drawn = 'empty', _outline(shape, size)
    if kind and kind != 'filled':
        rle = masks.encode(np.asfortranarray(drawn, dtype=np.uint8))
        shape.annotation['segmentation'] = dict(size=[*size], counts=rle['counts'].decode())
    return kind


def _has_hole(parts: Sequence[np.ndarray]) -> bool:
    """Tell whether all pixels of a part are pixels of another, larger one."""
    return any(
        0 < one.sum() < other.sum() and not (one > other).any()
        for one, other in permutations(parts, 2)
    )


def _filled(
    polygons: Sequence[Sequence[float]], size: tuple[int, int], offset: np.ndarray
) -> np.ndarray:
    """Fill polygons through pixel centres by the even-odd rule, with their outlines."""
    corners = [np.rint(np.reshape(p, (-1, 2)) - offset).astype(np.int32) for p in polygons]
    return cv2.fillPoly(np.zeros(size, np.uint8), corners, 1).astype(bool)


def _outline(shape: _Shape, size: tuple[int, int]) -> np.ndarray:
    """Draw the outline of polygons, moved into the pixels of the box."""
    x, y, width, height = shape.box
    low = np.maximum(np.floor([x, y]), 0)
    high = np.minimum(np.ceil([x + width, y + height]), size[::-1]) - 1
    corners = [
        np.clip(np.floor(np.reshape(p, (-1, 2))), low, np.maximum(low, high)).astype(np.int32)
        for p in shape.polygons
    ]
    return cv2.polylines(np.zeros(size, np.uint8), corners, True, 1).astype(bool)
