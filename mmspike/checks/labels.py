"""Look at the labels of a list of pictures before a run: they count from 0."""

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmspike.checks.data import inner_datasets
from mmspike.checks.weights import unwrap
from mmspike.errors import UserError


def check_labels(dataset: Any, model: nn.Module) -> None:
    """Demand that the labels of a list are those of classes, and warn if they begin with 1.

    Args:
        dataset: A built dataset, wrapped or not; one without a list is passed over.
        model: The model, which tells how many classes there are where the dataset does not.

    Raises:
        UserError: If a label is no class.
    """
    outputs = getattr(getattr(unwrap(model), 'head', None), 'num_classes', None)
    for inner in inner_datasets(dataset):
        classes = getattr(inner, 'metainfo', {}).get('classes')
        count = len(classes) if classes else outputs
        path = getattr(inner, 'ann_file', None)
        if not path or not count or not hasattr(inner, 'get_gt_labels'):
            continue
        labels = np.array([inner.get_data_info(i).get('gt_label') for i in range(len(inner))])
        if labels.ndim != 1 or labels.dtype.kind not in 'iu':  # Several of a picture, or none.
            continue
        wrong = np.flatnonzero((labels < 0) | (labels >= count))
        if wrong.size:
            image = inner.get_data_info(int(wrong[0]))['img_path']
            raise UserError(
                f"'{path}' gives '{image}' the label {labels[wrong[0]]}, but those of {count} "
                f'classes go from 0 to {count - 1}; count from 0, or correct metainfo.classes.'
            )
        if labels.min() == 1:
            print_log(
                f"No picture in '{path}' has the label 0, but labels count from 0; if they count "
                'from 1 there, every class is learnt or scored as the one behind it.',
                logger='current',
                level=logging.WARNING,
            )
