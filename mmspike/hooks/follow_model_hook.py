"""Let the transforms of datasets follow the model: its time steps, classes and ignored id."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from mmspike.checks.classes import classes_of
from mmspike.checks.data import inner_datasets
from mmspike.checks.label_maps import IGNORED
from mmspike.checks.weights import unwrap
from mmspike.datasets.event_transforms import follow_backbone
from mmspike.datasets.transforms import LoadSegAnnotations
from mmspike.registry import HOOKS


@HOOKS.register_module()
class FollowModelHook(Hook):
    """Tell a run's datasets what their transforms take from the model; see `follow_model`."""

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Look through the datasets of all loops of the run.

        Args:
            runner: The runner about to train, to validate or to test.

        Raises:
            UserError: As `follow_model`.
        """
        for name in ('_train_loop', '_val_loop', '_test_loop'):
            loop = getattr(runner, name)
            if isinstance(loop, BaseLoop):
                ignored = follow_model(runner.model, loop.dataloader.dataset)
                for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', []):
                    _ignore(metric, ignored, len(classes_of(loop.dataloader.dataset)))


def follow_model(model: nn.Module, dataset: Dataset) -> int | None:
    """Tell a dataset's transforms what they take from the model.

    Every `mmspike.LoadSegAnnotations` without `num_classes` gets that of its dataset, and gives
    ignored pixels the id that heads and losses ignore. Every transform that makes frames gets the
    backbone's T.

    Args:
        model: The model, possibly wrapped for distribution.
        dataset: Its dataset, wrapped or not.

    Returns:
        The id of ignored pixels as they are learnt and scored; None if they are left as they are.

    Raises:
        UserError: If a transform was told another T than the backbone has.
    """
    ignored = None
    for inner in inner_datasets(dataset):
        transforms = list(_transforms(getattr(inner, 'pipeline', None)))
        follow_backbone(transforms, unwrap(model))
        classes = getattr(inner, 'metainfo', {}).get('classes')
        for transform in transforms:
            if not isinstance(transform, LoadSegAnnotations):
                continue
            if classes and transform.num_classes is None:
                transform.num_classes = len(classes)
            ignored = _ignored_id(unwrap(model), transform.num_classes or 0)
            transform.ignored_as = ignored
    return ignored


def _ignored_id(model: nn.Module, num_classes: int) -> int | None:
    """Let all heads and losses of a segmentor ignore what its first head does, and return the id.

    None if that is a class, which may be meant.
    """
    heads: list[Any] = [part for part in model.modules() if hasattr(part, 'loss_decode')]
    told = heads[0].ignore_index if heads else None
    if told is None or 0 <= told < num_classes:
        return None
    ignored = told if 0 <= told <= IGNORED else IGNORED  # Label maps are of 8 bits.
    for part in (part for head in heads for part in head.modules()):
        _ignore(part, ignored, num_classes)
    return ignored


def _ignore(part: Any, ignored: int | None, num_classes: int) -> None:
    """Let a head, loss or metric ignore an id; a class that it ignores is left alone."""
    own = getattr(part, 'ignore_index', None)
    if ignored is not None and isinstance(own, int) and not 0 <= own < num_classes:
        part.ignore_index = ignored


def _transforms(node: object) -> Iterator[object]:
    """Yield every transform below a pipeline, also those inside others such as TestTimeAug."""
    if not isinstance(node, (list, tuple)):
        yield node
        node = getattr(node, 'transforms', None) or getattr(node, 'subroutines', None) or []
    for child in node:
        yield from _transforms(child)
