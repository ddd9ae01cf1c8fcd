"""The classes of two places that must agree: a label is a place in a list of names."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from mmspike.checks.data import inner_datasets
from mmspike.errors import UserError


def classes_of(dataset: Any) -> list[str]:
    """Give the names of a built dataset's classes, wrapped or not; empty where it has none."""
    return _names(getattr(next(inner_datasets(dataset)), 'metainfo', {}))


def checkpoint_classes(checkpoint: Mapping) -> list[str]:
    """Give the classes of the dataset that a checkpoint was trained on; empty if it tells none."""
    meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    return _names({str(key).lower(): value for key, value in meta.items()})


def _names(meta: Mapping) -> list[str]:
    classes = meta.get('classes') or ()
    return [] if isinstance(classes, str) else list(map(str, classes))


def check_same_classes(
    learnt: Sequence[str], learnt_from: str, own: Sequence[str], where: str
) -> None:
    """Demand that a label means the same class where it is learnt and where it is scored.

    Args:
        learnt: The classes in the order of the labels that are learnt.
        learnt_from: What has them, for the message.
        own: The classes of a dataset.
        where: Which one, for the message.

    Raises:
        UserError: If a class has another label in both.
    """
    if not learnt or not own or list(learnt) == list(own):
        return
    labels = {name: label for label, name in enumerate(learnt)}
    for label, name in enumerate(own):
        if labels.get(name, label) != label:
            raise UserError(
                f"class '{name}' is number {labels[name]} of the {len(learnt)} classes of "
                f'{learnt_from}, but number {label} of the {len(own)} of {where}, so that labels '
                'would be scored as other classes; set metainfo.classes of both datasets to the '
                'same list, or add the missing folder.'
            )
    for label, (one, other) in enumerate(zip(learnt, own, strict=False)):
        if one != other:
            print_log(
                f"Class {label} is '{one}' in {learnt_from}, but '{other}' in {where}; if this is "
                'not another name of the same, what is scored is wrong.',
                logger='current',
                level=logging.WARNING,
            )
            return
