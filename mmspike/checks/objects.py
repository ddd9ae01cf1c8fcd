"""Count the objects that built datasets hand out, and say which are left out and why."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from mmspike.datasets.annotations import OTHER_CLASS, SHAPELESS, AnnotationFile
from mmspike.errors import UserError

# Shares of all objects above which a warning is due. In COCO two objects of 860,001 are less than a
# pixel, and one of 85 is a crowd.
FEW, MANY_CROWDS = 0.001, 0.1
FEW_PICTURES = 0.02  # COCO has no object in one picture of 116.


class HandedOut:
    """Counts what a built dataset hands out.

    Args:
        dataset: A dataset of OpenMMLab.

    Attributes:
        images: Number of samples.
        objects: Number of objects to learn or to find.
        crowds: Number of objects that training ignores, such as the crowds of COCO.
        has_objects: Whether the dataset is one of objects.
        is_part: Whether its config takes some images of all.
    """

    def __init__(self, dataset: Any) -> None:
        self.test_mode = bool(getattr(dataset, 'test_mode', False))
        self.is_part = getattr(dataset, '_indices', None) is not None
        self.images = self.objects = self.crowds = 0
        self.has_objects = False

    def add(self, info: Mapping) -> None:
        """Count a sample.

        Args:
            info: What ``get_data_info`` gives.
        """
        self.images += 1
        instances = info.get('instances')
        if isinstance(instances, list):
            self.has_objects = True
            crowds = sum(bool(instance.get('ignore_flag')) for instance in instances)
            self.crowds += crowds
            self.objects += len(instances) - crowds


def tell_objects(files: Sequence[AnnotationFile], handed: Sequence[HandedOut], split: str) -> None:
    """Say on one line how many images and objects there are, and which are left out and why.

    Args:
        files: The annotation files that were read; of other layouts than COCO's there are none.
        handed: What the datasets hand out.
        split: ``train``, ``val`` or ``test``.

    Raises:
        UserError: If there is no object left to learn or to score.
    """
    handed = [part for part in handed if part.has_objects]
    if not handed:
        return
    images, objects, crowds = (
        sum(getattr(part, key) for part in handed) for key in ('images', 'objects', 'crowds')
    )
    left_out: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    for file in files:
        left_out += file.left_out
        pictures += file.pictures
    objects -= left_out[SHAPELESS]  # The dataset hands them out, and the loader ignores them.
    total = sum(file.objects for file in files)
    rest = total - left_out.total() - objects - crowds
    if rest > 0:
        left_out['in images that filter_cfg or indices leave out'] = rest
    chosen = left_out[OTHER_CLASS]
    if crowds:
        left_out['ignored as crowds'] = crowds
    reasons = ', '.join(f'{count} {reason}' for reason, count in left_out.most_common() if count)
    trained = not all(part.test_mode for part in handed)
    if not objects and (trained or total):
        why = f'all are left out: {reasons}' if reasons else 'the annotations have none'
        raise UserError(
            f'{split}_dataloader has {images} images and no object to learn or score ({why}); '
            f'correct the annotations{_names(files)}, or filter_cfg or metainfo.classes of it.'
        )
    lost = left_out.total() - chosen - crowds
    if any(part.is_part for part in handed):
        lost -= max(rest, 0)
    many = lost > FEW * total or crowds > MANY_CROWDS * (total or objects + crowds)
    fewer = ', '.join(f'{count} images {reason}' for reason, count in pictures.items())
    # Who chooses some classes has pictures of others.
    many_pictures = pictures.total() > FEW_PICTURES * images and not chosen
    print_log(
        f'{split}: {images} images, {objects} objects'
        + (f'; of {total} in the annotations are left out: {reasons}' if reasons else '')
        + (f'; correct them{_names(files)} if that is not meant' if many else '')
        + (f'; left out are {fewer}' if fewer else ''),
        logger='current',
        level=logging.WARNING if many or many_pictures else logging.INFO,
    )


def _names(files: Sequence[AnnotationFile]) -> str:
    return f' in {", ".join(repr(file.path) for file in files)}' if files else ''
