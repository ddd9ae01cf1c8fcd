"""Validate COCO annotation files; mmdet silently accepts several mistakes in them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.dist import is_main_process

from mmspike.datasets.annotation_mends import match_categories, merge_copies
from mmspike.datasets.annotation_samples import (
    check_sizes,
    is_blank,
    is_of_other_size,
    is_shapeless,
)
from mmspike.datasets.mask_mends import mend_masks
from mmspike.errors import UserError

# Of an object, COCO's layout demands these; without the others mmdet and its evaluator go on.
DEMANDED = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)
IDS = ('image_id', 'category_id')
BEYOND = 0.1  # Of a picture's side: boxes that reach further were hardly meant so.
SOME = 0.1  # Of all objects: so many may be odd, as a few are even in COCO.
# Why annotations are left out.
NO_PICTURE, OUTSIDE = 'of no picture in the file', 'outside their picture'
SHAPELESS = 'of polygons with less than three points or masks without a pixel'
EMPTY = 'without an object (filter_cfg.filter_empty_gt=False keeps them)'
SMALL = 'smaller than filter_cfg.min_size'
OTHER_CLASS = 'of classes that the dataset does not use'


@dataclass
class AnnotationFile:
    """What an annotation file holds, and what of it mmdet's `CocoDataset` leaves out.

    Attributes:
        path: The file.
        objects: Number of its annotations.
        left_out: Number of annotations that the dataset leaves out, by the reason.
        pictures: Number of pictures that ``filter_cfg`` leaves out, by the reason.
    """

    path: str
    objects: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)


class CountFiltered:
    """A mixin for datasets of mmdet: counts the pictures that ``filter_cfg`` leaves out."""

    annotation_file: AnnotationFile | None
    data_list: list[dict]
    filter_cfg: dict | None

    def filter_data(self) -> list[dict]:
        kept = super().filter_data()  # type: ignore[misc]
        stay, smallest = set(map(id, kept)), (self.filter_cfg or {}).get('min_size', 0)
        file = self.annotation_file
        for info in self.data_list:
            if file and id(info) not in stay:
                small = min(info['width'], info['height']) < smallest
                file.pictures[SMALL if small else EMPTY] += 1
        return kept


def check_annotations(dataset: Any, told: dict) -> AnnotationFile:
    """Check what a dataset has read of its annotation file, match classes by name, drop copies.

    Args:
        dataset: A `CocoDataset`.
        told: The content of the file. A test set without annotations gets an empty list of them.

    Returns:
        What the file holds.

    Raises:
        UserError: If the file is none of COCO's layout, if its categories are not the classes of
            the dataset, or if boxes, masks or sizes cannot be right.
    """
    path, test_mode = dataset.ann_file, dataset.test_mode
    if test_mode and told.get('annotations') is None:
        told['annotations'] = []  # COCO's own test pictures have none.
    if not all(isinstance(told.get(key), list) for key in DEMANDED):
        raise UserError(
            f"Annotation file '{path}' must be a JSON object with the lists images, annotations "
            'and categories, as COCO lays it out, but it is not; convert it.'
        )
    names = dataset.metainfo.get('classes') or ()
    if isinstance(names, str):
        raise UserError(
            f"metainfo.classes of the dataset is the text '{names}', but it must be a tuple; a "
            f"single class takes a comma: classes=('{names}',)."
        )
    _check_objects(told, path)
    _check_categories(names, told['categories'], path)
    match_categories(told, names, path)
    merge_copies(told, path)
    images = {image['id']: image for image in told['images']}
    if len(images) < len(told['images']):
        ids = [image['id'] for image in told['images']]
        twice = next(i for i, id in enumerate(ids) if id in ids[:i])
        raise UserError(
            f"Annotation file '{path}' gives id {ids[twice]} to more than one picture, such as "
            f"'{told['images'][twice]['file_name']}'; give each an id of its own."
        )
    file = AnnotationFile(path, len(told['annotations']))
    known = {category['id']: category['name'] in names for category in told['categories']}
    with_masks = loads_masks(dataset)
    beyond = 0
    plain_ids = {type(annotation[key]) for annotation in told['annotations'] for key in IDS} <= {
        int
    }
    for annotation in told['annotations']:
        wrong = '' if plain_ids and _is_sound(annotation) else _what_is_wrong(annotation)
        if not wrong and annotation['category_id'] not in known:
            wrong = f'has category_id {annotation["category_id"]}, which is not in categories'
        mask = annotation.get('segmentation')
        if with_masks and not mask:
            wrong = wrong or 'has no segmentation, which a model with masks needs'
        elif with_masks and (is_shapeless(mask) or is_blank(mask)):
            annotation['segmentation'] = [[]]
            # In training mmdet ignores such an object; COCO's own evaluation dies of it.
            file.left_out[SHAPELESS] += 1
            if test_mode or file.left_out[SHAPELESS] > SOME * file.objects:
                wrong = (
                    wrong
                    or f'has the mask {mask}, but a polygon needs three points and an RLE a pixel'
                )
        elif with_masks and not wrong and annotation['image_id'] in images:
            other = is_of_other_size(mask, images[annotation['image_id']])
            wrong = other and f'has {other}'
        if wrong:
            raise UserError(
                f"An annotation of picture {annotation['image_id']} in '{path}' {wrong}; correct "
                'the file.'
            )
        image = images.get(annotation['image_id'])
        size = (image['width'], image['height']) if image else None
        if size:
            beyond += _reaches_beyond(annotation['bbox'], size)
        if reason := _left_out(annotation, size, known):
            file.left_out[reason] += 1
    if beyond > SOME * file.objects:
        raise UserError(
            f"{beyond} of the {file.objects} boxes in '{path}' reach far beyond their "
            'pictures; bbox must be [x, y, width, height] in pixels, from the left upper corner.'
        )
    if file.left_out[NO_PICTURE] == file.objects and (file.objects or not test_mode):
        raise UserError(
            f"Annotation file '{path}' has no annotation of any of its {len(images)} pictures "
            f'({file.objects} of others), so there is nothing to learn or to score; complete the '
            'file, or correct image_id.'
        )
    if with_masks and draws_polygons(dataset):
        mend_masks(told, path)
    if is_main_process():
        check_sizes(dataset, told['images'])
    return file


def _left_out(
    annotation: Mapping, size: tuple[int, int] | None, known: Mapping[Any, bool]
) -> str | None:
    """Say why `CocoDataset.parse_data_info` leaves an annotation out, if it does."""
    x, y, width, height = annotation['bbox']
    if size is None:
        return NO_PICTURE
    if annotation.get('ignore'):
        return 'marked with ignore'
    if min(x + width, size[0]) <= max(x, 0) or min(y + height, size[1]) <= max(y, 0):
        return OUTSIDE
    if annotation['area'] <= 0:
        return 'of area 0'
    if width < 1 or height < 1:
        return 'of less than a pixel'
    return None if known[annotation['category_id']] else OTHER_CLASS


def _check_objects(told: dict[str, list[dict]], path: str) -> None:
    for kind, keys in DEMANDED.items():
        demanded = set(keys)
        for number, thing in enumerate(told[kind]):
            if not isinstance(thing, dict) or not demanded <= thing.keys():
                missing = [key for key in keys if not isinstance(thing, dict) or key not in thing]
                raise UserError(
                    f"Number {number} of {kind} in '{path}' has no {' and no '.join(missing)}; "
                    f'each needs {", ".join(keys)}.'
                )
    for image in told['images']:
        size = image['width'], image['height']
        # COCO's evaluation of masks takes no others.
        if not all(type(length) is int and length > 0 for length in size):
            raise UserError(
                f"'{path}' gives '{image['file_name']}' the width {size[0]!r} and the height "
                f'{size[1]!r}, but both must be whole numbers of pixels; correct the file.'
            )
        if not isinstance(image['file_name'], str) or not _is_id(image['id']):
            raise UserError(
                f"A picture in '{path}' has the file_name {image['file_name']!r} and the id "
                f'{image["id"]!r}, but a text and a number were expected; correct the file.'
            )
    if len({type(image['id']) for image in told['images']}) > 1:
        raise UserError(
            f"The ids of the pictures in '{path}' are numbers and texts, which COCO's evaluation "
            'cannot sort; write all as numbers.'
        )


def _check_categories(names: Sequence[str], categories: list[dict], path: str) -> None:
    """Demand names and ids that can be matched with the classes of a dataset."""
    by_id: dict[Any, str] = {}
    for category in categories:
        id, name = category['id'], category['name']
        if not isinstance(name, str) or not _is_id(id):
            raise UserError(
                f"A category in '{path}' has the name {name!r} and the id {id!r}, but a text and a "
                'number were expected; correct the file.'
            )
        if by_id.setdefault(id, name) != name:
            raise UserError(
                f"The categories '{by_id[id]}' and '{name}' in '{path}' have the same id {id}; "
                'give each an id of its own.'
            )
    if len(set(names)) < len(names):
        raise UserError(
            f'metainfo.classes of the dataset is {tuple(names)}, which has a name twice; give each '
            'class a name of its own.'
        )


def _is_sound(annotation: Mapping) -> bool:
    """Tell in less time than `_what_is_wrong` that nothing is."""
    try:
        x, y, width, height = annotation['bbox']
        return math.isfinite(x + y + width + height + annotation['area']) and (
            annotation.get('iscrowd', 0) in (0, 1)
        )
    except (TypeError, ValueError):
        return False


def _what_is_wrong(annotation: Mapping) -> str:
    box, area, crowd = annotation['bbox'], annotation['area'], annotation.get('iscrowd')
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f'has the bbox {box}, but it must be four numbers, [x, y, width, height]'
    if not _is_number(area):
        return f'has the area {area!r}, but it must be a number of pixels'
    if crowd is not None and crowd not in (0, 1):
        return f'has iscrowd {crowd!r}, but it must be 0 or 1'
    for key in IDS:
        if not _is_id(annotation[key]):
            return f'has the {key} {annotation[key]!r}, but it must be a whole number'
    return ''


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _reaches_beyond(box: list[float], size: tuple[float, float]) -> bool:
    x, y, width, height = box
    right, bottom = size[0] * (1 + BEYOND), size[1] * (1 + BEYOND)
    return x + width > right or y + height > bottom


def loads_masks(dataset: Any) -> bool:
    """Tell whether a step of a dataset's pipeline loads masks."""
    return any(getattr(step, 'with_mask', False) for step in dataset.pipeline.transforms)


def draws_polygons(dataset: Any) -> bool:
    """Tell whether all masks that a pipeline loads become pictures of pixels."""
    return all(getattr(step, 'poly2mask', True) for step in dataset.pipeline.transforms)
