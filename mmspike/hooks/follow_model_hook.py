"""Let the transforms of datasets follow the model: its time steps, and the number of classes."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from mmspike.checks.data import inner_datasets
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
                follow_model(runner.model, loop.dataloader.dataset)


def follow_model(model: nn.Module, dataset: Dataset) -> None:
    """Tell a dataset's transforms what they take from the model.

    Every `mmspike.LoadSegAnnotations` without `num_classes` gets that of its dataset, and every
    transform that makes frames the backbone's T.

    Args:
        model: The model, possibly wrapped for distribution.
        dataset: Its dataset, wrapped or not.

    Raises:
        UserError: If a transform was told another T than the backbone has.
    """
    for inner in inner_datasets(dataset):
        transforms = list(_transforms(getattr(inner, 'pipeline', None)))
        follow_backbone(transforms, unwrap(model))
        classes = getattr(inner, 'metainfo', {}).get('classes')
        for transform in transforms:
            if not isinstance(transform, LoadSegAnnotations):
                continue
            if classes and transform.num_classes is None:
                transform.num_classes = len(classes)


def _transforms(node: object) -> Iterator[object]:
    """Yield every transform below a pipeline, also those inside others such as TestTimeAug."""
    if not isinstance(node, (list, tuple)):
        yield node
        node = getattr(node, 'transforms', None) or getattr(node, 'subroutines', None) or []
    for child in node:
        yield from _transforms(child)
