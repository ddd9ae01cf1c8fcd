"""Look at a sample of label maps, and at the files beside them that nobody reads."""

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from mmspike.datasets.transforms import IMAGES, training_ids
from mmspike.errors import UserError

LABELS = 'seg_map_path'
IGNORED = 255  # The id of pixels without a class, in every dataset of mmseg.
LOOKED_AT = 64  # Label maps, spread over the dataset.
SOME = 0.1  # Of them: so many may be odd.
SHOWN = 5  # Names of classes.


def look_at_label_maps(dataset: Any, split: str) -> None:
    """Count the classes in a sample of label maps as they are trained on.

    Args:
        dataset: A built dataset of mmseg, unwrapped; others are passed over.
        split: ``train``, ``val`` or ``test``, for the message.

    Raises:
        UserError: If the maps are black and white, of 0 and 255: the second is ignored, and the
            rest always right.
    """
    classes = getattr(dataset, 'metainfo', {}).get('classes') or ()
    if len(classes) < 2 or not hasattr(dataset, 'get_data_info') or not len(dataset):
        return
    pixels = np.zeros(256, int)
    ids, odd, looked = set(), [], 0
    for index in range(0, len(dataset), -(-len(dataset) // LOOKED_AT)):
        info = dataset.get_data_info(index)
        path = info.get(LABELS)
        if not path or '://' in path:
            return
        try:
            with Image.open(path) as image:
                if image.mode not in ('L', 'P'):
                    return  # Refused when it is loaded, or of 16 bits.
                counts = np.array(image.histogram())
        except (OSError, ValueError, Image.DecompressionBombError):
            return
        looked += 1
        table = training_ids(info)
        trained = np.bincount(table, counts, 256).astype(int)
        pixels += trained
        found = set(np.flatnonzero(counts).tolist())
        ids |= found
        plain = not info.get('reduce_zero_label') and not info.get('label_map')
        # Who chooses some classes ignores the others.
        mostly_ignored = not info.get('label_map') and trained[IGNORED] > trained.sum() / 2
        if mostly_ignored or (plain and found == {0, IGNORED}):
            odd.append(path)
    if plain and IGNORED in ids and not ids - {0, IGNORED}:
        raise UserError(
            f'The label maps of the dataset hold only {" and ".join(map(str, sorted(ids)))} (in '
            f"{looked} looked at, such as '{path}'), but {IGNORED} means no class and the dataset "
            f'has {len(classes)}: write class ids, 1 in the place of 255.'
        )
    unseen = [name for name, count in zip(classes, pixels, strict=False) if not count]
    if len(odd) > SOME * looked:
        _warn(
            f'{split}: {len(odd)} of {looked} label maps looked at have a class in less than half '
            f"of their pixels or none but 0, such as '{odd[0]}': all others, of id {IGNORED}, "
            'are not learnt or scored; correct the maps if that is not meant.'
        )
    # A sample tells nothing of rare classes.
    if unseen and (looked == len(dataset) or len(unseen) >= len(classes) - 1):
        more = f' and {len(unseen) - SHOWN} more' if len(unseen) > SHOWN else ''
        _warn(
            f'{split}: no pixel in {looked} label maps looked at is of class '
            f'{", ".join(map(str, unseen[:SHOWN]))}{more}, which will not be learnt or scored; '
            "correct the maps or the dataset's metainfo.classes if that is not meant."
        )


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def tell_passed_over(dataset: Any) -> None:
    """Warn of files in class folders that are no samples, and of images and label maps left alone.

    These are images that end otherwise than img_suffix says, and label maps without an image.

    Args:
        dataset: A built dataset, unwrapped.
    """
    if (known := getattr(dataset, 'extensions', None)) and not getattr(dataset, 'ann_file', None):
        _tell_other_files(dataset.img_prefix, tuple(known))
    suffix, prefix = getattr(dataset, 'img_suffix', None), getattr(dataset, 'data_prefix', None)
    # With a list of names in ann_file, or a part of them, nobody looks what else the folders hold.
    listed = os.path.isfile(getattr(dataset, 'ann_file', None) or '')
    listed = listed or getattr(dataset, '_indices', None) is not None
    if not isinstance(suffix, str) or not isinstance(prefix, Mapping) or listed:
        return
    folder, labels = prefix.get('img_path') or prefix.get('img'), prefix.get(LABELS)
    if not folder:
        return
    label_suffix = getattr(dataset, 'seg_map_suffix', suffix)
    endings = suffix, label_suffix
    over = [
        path
        for path in _files(folder)
        if path.lower().endswith(IMAGES)
        and not path.endswith(endings)
        and not os.path.basename(path).startswith('.')
    ]
    if over:
        _warn(
            f"Image folder '{folder}' holds {len(over)} images that do not end in img_suffix "
            f"('{suffix}'), such as '{min(over)}': they are passed over; rename them if they "
            'are meant to be used.'
        )
    if labels and os.path.realpath(labels) != os.path.realpath(folder):
        used = {dataset.get_data_info(index).get(LABELS) for index in range(len(dataset))}
        over = [path for path in _files(labels) if path.endswith(label_suffix) and path not in used]
        if over:
            _warn(
                f"Label folder '{labels}' holds {len(over)} label maps of which there is no image "
                f"in '{folder}', such as '{min(over)}': they are passed over; complete the images "
                'if they are meant to be used.'
            )


def _tell_other_files(folder: str, known: tuple[str, ...]) -> None:
    """Warn of files in class folders of which a dataset does not know the suffix."""
    over = [
        path
        for path in _files(folder)
        if not path.lower().endswith(known)
        and not os.path.basename(path).startswith('.')
        and os.path.realpath(os.path.dirname(path)) != os.path.realpath(folder)
    ]
    if over:
        _warn(
            f"The class folders in '{folder}' hold {len(over)} files that do not end in "
            f"{', '.join(sorted(known))}, such as '{min(over)}': they are passed over; set "
            'extensions of the dataset if they are meant to be used.'
        )


def _files(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(place, name)
