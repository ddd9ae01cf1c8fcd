"""Compare a sample of pictures and masks with what a COCO annotation file says of them."""

import logging
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from pycocotools import mask as masks

from mmspike.datasets.transforms import (
    SIDEWAYS,
    TURNED,
    LoadImageFromFile,
    orientation_of,
    warn_of_orientation,
)
from mmspike.errors import UserError

PICTURES, OBJECTS = 64, 2000  # So many are looked at, spread over the file.
# How far a box may be from its mask: in pixels, or as a share of its longer side. Real ones fit to
# a pixel.
OFF, SHARE_OFF = 2, 0.1
PIXEL = 0.95  # What most are off by is no tolerance of single ones.
TIMES_OFF, AREA_OFF = 2, 16  # An area may be so many times that of its mask and pixels more.
SOME = 0.01  # Of the objects: so many may be odd.


def check_sizes(dataset: Any, images: list[dict]) -> None:
    """Compare a few pictures, as they are loaded, with the sizes that the file gives them.

    Args:
        dataset: A `CocoDataset`.
        images: The pictures as its file lists them.
    """
    path, folder = dataset.ann_file, dataset.data_prefix.get('img') or ''
    steps = (step for step in dataset.pipeline.transforms if hasattr(step, 'color_type'))
    loader = next(steps, None)
    own = isinstance(loader, LoadImageFromFile)
    turns = getattr(loader, 'color_type', 'color') in TURNED
    warned = False
    for image in islice(images, 0, None, max(len(images) // PICTURES, 1)):
        file = os.path.join(folder, image['file_name'])
        told = image['width'], image['height']
        try:
            with Image.open(file) as picture:
                orientation = orientation_of(picture)
                stored = picture.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # Whatever it is, other checks name it.
        shown = stored[::-1] if orientation >= SIDEWAYS else stored
        if told not in (stored, shown):
            raise UserError(
                f"'{path}' says that '{image['file_name']}' is {told[0]} pixels wide and "
                f'{told[1]} high, but it is {shown[0]} and {shown[1]}; correct the sizes and '
                'boxes.'
            )
        loaded = shown if turns else stored
        if told != loaded and not own:
            raise UserError(
                f"The EXIF orientation of '{file}' turns it to {shown[0]}x{shown[1]} pixels; it is "
                f"loaded as {loaded[0]}x{loaded[1]}, but the boxes in '{path}' are for "
                f"{told[0]}x{told[1]}: load it with type='mmspike.LoadImageFromFile', which turns "
                'it as they need it, or write the pictures without EXIF.'
            )
        if orientation > 1 and stored == shown and turns and not own and not warned:
            warned = True
            warn_of_orientation(file, orientation, 'boxes')


def compare_masks(coco: Any, path: str, needed: bool) -> None:
    """Compare boxes and areas with their masks, and warn of those that do not fit.

    Args:
        coco: The annotation file, indexed.
        path: Of the file, for the message.
        needed: Whether the masks are loaded.

    Raises:
        UserError: If a mask that is needed cannot be read.
    """
    annotations = coco.dataset['annotations']
    chosen = [
        annotation
        for annotation in annotations[:: max(len(annotations) // OBJECTS, 1)]
        if annotation.get('segmentation')
        and annotation['image_id'] in coco.imgs
        and not is_shapeless(annotation['segmentation'])
    ]
    unfit: dict[str, list[str]] = dict(bbox=[], area=[])
    larger = []
    for annotation in chosen:
        picture = annotation['image_id']
        try:
            rle = coco.annToRLE(annotation)
            box, area = _extent(annotation['segmentation'], rle), float(masks.area(rle))
        except Exception as error:  # Whatever pycocotools raises of it.
            if not needed:
                continue
            raise UserError(
                f"An annotation of picture {picture} in '{path}' has a segmentation that cannot be "
                f'read ({error}); it must be a list of polygons [x, y, x, y, ...] or an RLE.'
            ) from error
        larger.append([told - seen for told, seen in zip(annotation['bbox'], box, strict=True)][2:])
        if not _fits(annotation['bbox'], box, coco.imgs[picture]):
            shown = [round(value, 1) for value in box]
            unfit['bbox'].append(
                f'{annotation["bbox"]} in picture {picture}, whose segmentation has {shown}'
            )
        elif not area / TIMES_OFF - AREA_OFF < annotation['area'] < area * TIMES_OFF + AREA_OFF:
            unfit['area'].append(
                f'{annotation["area"]} in picture {picture}, whose segmentation has {area:.0f} '
                'pixels'
            )
    middle = np.median(larger, 0) if larger else np.zeros(2)
    if needed and abs(middle).min() >= PIXEL and middle.prod() > 0:
        print_log(
            f"In '{path}' half of the {len(larger)} masks looked at are {abs(middle[0]):.1f} pixels"
            f' or more {"narrower" if middle[0] > 0 else "wider"} and {abs(middle[1]):.1f} '
            f'{"lower" if middle[0] > 0 else "higher"} than their boxes; correct the boxes ([x, y, '
            'width, height]) or the masks.',
            logger='current',
            level=logging.WARNING,
        )
    for key, found in unfit.items():
        if len(found) > SOME * len(chosen):
            print_log(
                f"In '{path}' the {key} of {len(found)} of {len(chosen)} annotations looked at "
                f'does not fit their segmentation, such as {found[0]}; correct them if that is not '
                'meant (bbox is [x, y, width, height] in pixels, area in pixels).',
                logger='current',
                level=logging.WARNING,
            )


def _extent(segmentation: Any, rle: Mapping) -> list[float]:
    """Give the box ``[x, y, width, height]`` around a mask; that of polygons before they are drawn.

    Drawn, a small one can be pixels smaller.
    """
    if not isinstance(segmentation, list):
        return masks.toBbox(rle).tolist()
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # Others are not drawn.
    x, y = ([value for polygon in polygons for value in polygon[start::2]] for start in (0, 1))
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _fits(told: Sequence[float], seen: Sequence[float], image: Mapping) -> bool:
    """Tell whether two boxes ``[x, y, width, height]`` are about the same within the picture."""
    off = max(OFF, SHARE_OFF * max(told[2:]))
    corners = (
        (max(x, 0), max(y, 0), min(x + width, image['width']), min(y + height, image['height']))
        for x, y, width, height in (told, seen)
    )
    return all(abs(a - b) <= off for a, b in zip(*corners, strict=True))


def is_shapeless(mask: Any) -> bool:
    """Tell whether a mask is a list of polygons of which none has three points."""
    polygons = mask if isinstance(mask, list) else []
    return bool(polygons) and not any(map(is_polygon, polygons))


def is_polygon(polygon: Any) -> bool:
    """Tell whether a part of a mask is a list of three points or more, ``[x, y, x, y, ...]``."""
    return isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0


def is_blank(mask: Any) -> bool:
    """Tell whether a mask is an RLE without a pixel."""
    counts = mask.get('counts') if isinstance(mask, dict) else None
    if isinstance(counts, list):
        return not any(counts[1::2])
    try:
        return isinstance(counts, str) and not masks.area(mask)
    except (KeyError, TypeError, ValueError):
        return False  # Other checks name it.


def is_of_other_size(mask: Any, image: Mapping) -> str:
    """Say of an RLE mask that its size is not that of its picture; empty if it is."""
    size = [image['height'], image['width']]
    told = mask.get('size') if isinstance(mask, dict) else None
    if told is None or told == size:
        counts = mask.get('counts') if isinstance(mask, dict) else None
        pixels = size[0] * size[1]
        if isinstance(counts, list) and sum(counts) != pixels:
            return f'an RLE mask of {sum(counts)} pixels, but its picture has {pixels}'
        return ''
    return f'an RLE mask of the size {told}, but its picture has [height, width] {size}'
