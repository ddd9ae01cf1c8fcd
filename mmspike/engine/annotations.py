"""Validate COCO annotation files; mmdet silently accepts several mistakes in them."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from PIL import Image

from mmspike.errors import UserError

# Of an object, COCO's layout demands these; mmdet reads no other.
DEMANDED = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)
BEYOND = 0.1  # Of a picture's side: boxes that reach further were hardly meant so.
SOME = 0.1  # Of all objects: so many may be odd, as a few are even in COCO.
LOOKED_AT = 8  # Pictures of which the size is read.


def check_annotations(dataset: Mapping, path: str, folder: str) -> None:
    """Check an annotation file that mmdet's `CocoDataset` will read.

    Args:
        dataset: The config of the dataset.
        path: Of the annotation file.
        folder: Of the pictures.

    Raises:
        UserError: If the file is none of COCO's layout, if its categories are not the classes of
            the dataset in their order, or if boxes, masks or sizes cannot be right.
    """
    test_mode = bool(dataset.get('test_mode'))
    told = _read(path, test_mode)
    names = _classes(dataset)
    _check_objects(told, path)
    _check_categories(names, told['categories'], path)
    sizes = {image['id']: (image['width'], image['height']) for image in told['images']}
    if len(sizes) < len(told['images']):
        ids = [image['id'] for image in told['images']]
        twice = next(i for i, id in enumerate(ids) if id in ids[:i])
        raise UserError(
            f"Annotation file '{path}' gives id {ids[twice]} to more than one picture, such as "
            f"'{told['images'][twice]['file_name']}'; give each an id of its own."
        )
    known = {category['id'] for category in told['categories']}
    with_masks = _loads_masks(dataset.get('pipeline'))
    beyond, shapeless = 0, 0
    for annotation in told['annotations']:
        wrong = _box_is_wrong(annotation['bbox'])
        if not wrong and annotation['category_id'] not in known:
            wrong = f'has category_id {annotation["category_id"]}, which is not in categories'
        mask = annotation.get('segmentation')
        if with_masks and not mask:
            wrong = wrong or 'has no segmentation, which a model with masks needs'
        elif with_masks and _is_shapeless(mask):
            # In training mmdet ignores such an object; COCO's own evaluation dies of it.
            shapeless += 1
            if test_mode or shapeless > SOME * len(told['annotations']):
                wrong = wrong or f'has the polygons {mask}, but one needs x, y of three points'
        if wrong:
            raise UserError(
                f"An annotation of picture {annotation['image_id']} in '{path}' {wrong}; correct "
                'the file.'
            )
        if annotation['image_id'] in sizes:
            beyond += _reaches_beyond(annotation['bbox'], sizes[annotation['image_id']])
    if beyond > SOME * len(told['annotations']):
        raise UserError(
            f"{beyond} of the {len(told['annotations'])} boxes in '{path}' reach far beyond their "
            'pictures; bbox must be [x, y, width, height] in pixels, from the left upper corner.'
        )
    if not test_mode and not any(a['image_id'] in sizes for a in told['annotations']):
        raise UserError(
            f"Annotation file '{path}' has no annotation of any of its {len(sizes)} pictures, so "
            'there is nothing to learn; complete the file.'
        )
    _check_sizes(told['images'], folder, path)


def _read(path: str, test_mode: bool) -> dict[str, list[dict]]:
    try:
        told = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"Annotation file '{path}' cannot be read as JSON ({error}); write it again."
        ) from error
    if isinstance(told, dict) and test_mode:
        told.setdefault('annotations', [])  # COCO's own test pictures have none.
    if not isinstance(told, dict) or not all(isinstance(told.get(k), list) for k in DEMANDED):
        raise UserError(
            f"Annotation file '{path}' must be a JSON object with the lists images, annotations "
            'and categories, as COCO lays it out, but it is not; convert it.'
        )
    return told


def _check_objects(told: dict[str, list[dict]], path: str) -> None:
    for kind, keys in DEMANDED.items():
        for number, thing in enumerate(told[kind]):
            missing = [key for key in keys if not isinstance(thing, dict) or key not in thing]
            if missing:
                raise UserError(
                    f"Number {number} of {kind} in '{path}' has no {' and no '.join(missing)}; "
                    f'each needs {", ".join(keys)}.'
                )


def _classes(dataset: Mapping) -> Sequence[str]:
    """Tell the classes of a dataset: those that its config names, or those of COCO."""
    metainfo = dataset.get('metainfo')
    names = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    if isinstance(names, str) and not os.path.isfile(names):
        raise UserError(
            f"metainfo.classes of the dataset is the text '{names}', but it must be a tuple; a "
            f"single class takes a comma: classes=('{names}',)."
        )
    if names is None or isinstance(names, str):
        kind = DATASETS.get('mmdet.CocoDataset')
        return kind._load_metainfo(metainfo and dict(metainfo)).get('classes') or ()
    return names


def _check_categories(names: Sequence[str], categories: list[dict], path: str) -> None:
    """Demand that classes stand in the order of the categories, by which mmdet numbers them."""
    there = [category['name'] for category in categories]
    if missing := [name for name in names if name not in there]:
        shown = ', '.join(map(str, there[:20])) + (', ...' if len(there) > 20 else '')
        raise UserError(
            f"The dataset has the class '{missing[0]}', but the categories of '{path}' are "
            f'{shown}; write them into metainfo.classes of the dataset as they stand there.'
        )
    order = [name for name in there if name in names]
    if order != list(names):
        raise UserError(
            f"metainfo.classes of the dataset is {tuple(names)}, but '{path}' has {tuple(order)}; "
            'write the classes in the order of the categories, by which mmdet numbers them.'
        )


def _box_is_wrong(box: Any) -> str:
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        return f'has the bbox {box}, but it must be four numbers, [x, y, width, height]'
    return ''


def _is_shapeless(mask: Any) -> bool:
    """Whether a mask is a list of polygons of which none has three points."""
    polygons = mask if isinstance(mask, list) else []
    valid = (isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in polygons)
    return bool(polygons) and not any(valid)


def _reaches_beyond(box: list[float], size: tuple[float, float]) -> bool:
    x, y, width, height = box
    right, bottom = size[0] * (1 + BEYOND), size[1] * (1 + BEYOND)
    return x + width > right or y + height > bottom


def _loads_masks(pipeline: object) -> bool:
    steps = pipeline if isinstance(pipeline, list | tuple) else ()
    return any(isinstance(step, Mapping) and step.get('with_mask') for step in steps)


def _check_sizes(images: list[dict], folder: str, path: str) -> None:
    """Compare a few pictures with the sizes that the file gives them."""
    for image in islice(images, 0, None, max(len(images) // LOOKED_AT, 1)):
        file = os.path.join(folder, image['file_name'])
        try:
            with Image.open(file) as picture:
                size = picture.size
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # Whatever it is, other checks name it.
        # A camera held upright says so beside the pixels.
        if sorted(size) != sorted((image['width'], image['height'])):
            raise UserError(
                f"'{path}' says that '{image['file_name']}' is {image['width']} pixels wide and "
                f'{image["height"]} high, but it is {size[0]} and {size[1]}; correct the sizes and '
                'boxes.'
            )
