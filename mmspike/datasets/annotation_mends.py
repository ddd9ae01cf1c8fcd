"""Match classes by name and drop copies in COCO annotations, alike for a dataset and its metric."""

import logging
import posixpath
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from math import fsum, isfinite
from typing import Any

from mmengine.logging import print_log
from pycocotools import mask as masks

from mmspike.errors import UserError

SHOWN = 20  # Categories that a sentence names.
ALIKE, SAME = 0.01, 0.99  # Boxes of copies differ by so many pixels, their masks overlap so much.


def warn(text: str) -> None:
    """Log a warning."""
    print_log(text, logger='current', level=logging.WARNING)


def same_names(names: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """Find the class that each name means: as it stands, else without regard to case and spaces.

    Args:
        names: As they stand in annotations.
        classes: Of a dataset.

    Returns:
        The class of each name that means exactly one.
    """
    plain: dict[str, list[str]] = {}
    for name in classes:
        plain.setdefault(_plain(name), []).append(name)
    found = {}
    for name in names:
        alike = [name] if name in classes else plain.get(_plain(name), [])
        if len(alike) == 1:
            found[name] = alike[0]
    return found


def _plain(name: str) -> str:
    return ' '.join(str(name).split()).casefold()


def merge_copies(coco: dict[str, Any], path: str = '') -> dict[Any, Any]:
    """Merge entries of one picture, drop copies of objects, and number annotations if they need it.

    Entries are of one picture if they name one file and size: the first gets the objects of all.
    Objects are copies if picture, category, crowd, box and, where both have one, mask are the same,
    but for rounding and the form in which the mask is written.

    Args:
        coco: The content of an annotation file, changed in place.
        path: Of the file, for the warnings; without it there are none.

    Returns:
        The id of the entry that is left, by the id of each that was merged into it.
    """
    kept: dict[Hashable, dict] = {}
    moved: dict[Any, Any] = {}
    copies = []
    for image in coco['images']:
        name = posixpath.normpath(str(image.get('file_name') or image['id']))
        first = kept.setdefault((name, image.get('width'), image.get('height')), image)
        if first is not image:
            copies.append(name)
            if first['id'] != image['id']:
                moved[image['id']] = first['id']
    if copies:
        coco['images'] = list(kept.values())
        _rename(coco['annotations'], 'image_id', moved)
        if path:
            warn(
                f"'{path}' lists pictures more than once ({len(copies)} entries too many, such as "
                f"of '{copies[0]}'); the objects of all entries belong to the first."
            )
    _drop_copies(coco, path)
    ids = [annotation.get('id') for annotation in coco['annotations']]
    # COCO's evaluation takes id 0 for "not found".
    if not all(type(id) is int and id > 0 for id in ids) or len(set(ids)) < len(ids):
        for number, annotation in enumerate(coco['annotations'], 1):
            annotation['id'] = number
    return moved


def _rename(annotations: Iterable[dict], key: str, moved: Mapping[Any, Any]) -> None:
    for annotation in annotations:
        id = annotation.get(key)
        if isinstance(id, Hashable) and id in moved:
            annotation[key] = moved[id]


def _drop_copies(coco: dict[str, Any], path: str) -> None:
    sizes = {image['id']: (image['height'], image['width']) for image in coco['images']}
    places: dict[Hashable, list[dict]] = {}
    for annotation in coco['annotations']:
        places.setdefault(_place_of(annotation), []).append(annotation)
    copies = [copy for alike in places.values() for copy in _copies_among(alike, sizes)]
    if not copies:
        return
    total = len(coco['annotations'])
    dropped = set(map(id, copies))
    coco['annotations'] = [a for a in coco['annotations'] if id(a) not in dropped]
    if path:
        warn(
            f"{len(copies)} of the {total} objects in '{path}' are annotated twice or more often, "
            f'such as the box {copies[0]["bbox"]} in picture {copies[0]["image_id"]}; the '
            'duplicates are left out.'
        )


def _copies_among(alike: Sequence[dict], sizes: Mapping[Any, tuple[int, int]]) -> Iterator[dict]:
    """Yield what stands again in a list of objects of one picture and class."""
    order = sorted(range(len(alike)), key=lambda i: (alike[i]['bbox'][0], i)) if alike[1:] else []
    near: list[dict] = []  # Those that begin at most `ALIKE` to the left.
    for annotation in (alike[i] for i in order):
        box, mask = annotation['bbox'], annotation.get('segmentation')
        near = [other for other in near if other['bbox'][0] >= box[0] - ALIKE]
        size = sizes.get(annotation['image_id'])
        for other in near:
            same = all(abs(a - b) <= ALIKE for a, b in zip(box, other['bbox'], strict=True))
            if same and _is_same_mask(mask, other.get('segmentation'), size):
                other['segmentation'] = other.get('segmentation') or mask or []
                yield annotation
                break
        else:
            near.append(annotation)


def _is_same_mask(mask: Any, other: Any, size: tuple[int, int] | None) -> bool:
    """Tell whether two masks cover the same pixels; an object without one may be either."""
    if not mask or not other or mask == other or size is None:
        return not mask or not other or mask == other
    try:
        one, two = (
            masks.merge(masks.frPyObjects(m, *size))
            if isinstance(m, list)
            else m
            if isinstance(m['counts'], str | bytes)
            else masks.frPyObjects(m, *size)
            for m in (mask, other)
        )
        return bool(masks.iou([one], [two], [0])[0, 0] >= SAME)
    except Exception:  # Whatever pycocotools raises of it; other checks name it.
        return False


def _place_of(annotation: dict) -> Hashable:
    """Give what copies of an object share beside box and mask; malformed ones have no copies."""
    try:
        place = annotation['image_id'], annotation['category_id'], bool(annotation.get('iscrowd'))
        hash(place)
        sound = len(annotation['bbox']) == 4 and isfinite(fsum(annotation['bbox']))
        return place if sound else id(annotation)
    except (KeyError, OverflowError, TypeError, ValueError):
        return id(annotation)


def match_categories(
    coco: dict[str, Any], classes: Sequence[str], path: str, warns: bool = True
) -> None:
    """Let the categories begin with the classes of a dataset in their order, matched by name.

    mmdet numbers labels by the order of the categories. Categories that mean one class become one;
    a class that no category means becomes one without objects.

    Args:
        coco: The content of an annotation file, changed in place.
        classes: Of the dataset.
        path: Of the file, for the message.
        warns: Whether to warn of classes that no category means.

    Raises:
        UserError: If classes are missing and there are objects of other categories, or if no class
            is there.
    """
    categories = coco['categories']
    meant = same_names((category['name'] for category in categories), classes)
    ids: dict[str, Any] = {}
    moved: dict[Any, Any] = {}
    for category in categories:
        if category['name'] in meant:
            first = ids.setdefault(meant[category['name']], category['id'])
            moved[category['id']] = first
    if any(id != first for id, first in moved.items()):
        _rename(coco['annotations'], 'category_id', moved)
    others = [category for category in categories if category['name'] not in meant]
    missing = [name for name in classes if name not in ids]
    if missing:
        _check_missing(missing, len(missing) == len(classes), others, coco, path)
        if warns:
            warn(
                f"'{path}' has no category '{missing[0]}' ({len(missing)} of {len(classes)} are "
                'missing), so it is taken to have no object of that class.'
            )
        used = {category['id'] for category in categories}
        free = (id for id in map(type(categories[0]['id']), count(1)) if id not in used)
        ids |= dict(zip(missing, free, strict=False))
    by_id = {category['id']: category for category in categories}
    coco['categories'] = [{**by_id.get(ids[n], {}), 'id': ids[n], 'name': n} for n in classes]
    coco['categories'] += others


def _check_missing(
    missing: Sequence[str], all_of_them: bool, others: Sequence[dict], coco: dict, path: str
) -> None:
    """Refuse missing classes if an object of another category may be meant as one."""
    used = {a['category_id'] for a in coco['annotations'] if isinstance(a['category_id'], Hashable)}
    if all_of_them or any(category['id'] in used for category in others):
        names = [str(category['name']) for category in coco['categories']]
        shown = ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
        raise UserError(
            f"The dataset has the class '{missing[0]}', but the categories of '{path}' are "
            f'{shown}; write them into metainfo.classes of the dataset as they stand there, or add '
            'the class to the categories.'
        )
