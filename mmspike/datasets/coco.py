"""COCO's layout: mmdet's dataset, which checks the annotations that it has read."""

from mmdet.datasets import CocoDataset as StockCocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.dist import is_main_process

from mmspike.datasets.annotation_samples import compare_masks
from mmspike.datasets.annotations import AnnotationFile, check_annotations, loads_masks
from mmspike.errors import UserError
from mmspike.registry import DATASETS


@DATASETS.register_module()
class CocoDataset(StockCocoDataset):
    """mmdet's `CocoDataset`, but annotations that cannot be right are refused in one sentence.

    They are looked at as they are loaded, on the first process alone. The arguments are those of
    `mmdet.datasets.CocoDataset`; a dataset of your own is checked if it is derived from this one.

    Attributes:
        annotation_file: What the file holds; None on the other processes.

    Raises:
        UserError: As `mmspike.datasets.annotations.check_annotations`.
    """

    annotation_file: AnnotationFile | None = None

    def COCOAPI(self, path: str) -> COCO:  # noqa: N802  # What the stock class loads the file with.
        return _CheckedCOCO(self, path) if is_main_process() else COCO(path)


class _CheckedCOCO(COCO):
    """An annotation file that is checked before and after it is indexed."""

    def __init__(self, owner: CocoDataset, path: str) -> None:
        self.owner = owner
        try:
            super().__init__(path)
        except UserError:
            raise
        except (AssertionError, ValueError) as error:  # No object, or no JSON.
            raise UserError(
                f"Annotation file '{owner.ann_file}' cannot be read as a JSON object ({error}); "
                'write it again.'
            ) from error

    def createIndex(self) -> None:  # noqa: N802
        path = self.owner.ann_file
        self.owner.annotation_file = check_annotations(self.owner, self.dataset)
        super().createIndex()
        if len(self.anns) < len(self.dataset['annotations']):
            raise UserError(
                f"Annotation file '{path}' gives an id to more than one annotation: they are "
                f'{len(self.dataset["annotations"])}, but their ids {len(self.anns)}; give each an '
                'id of its own.'
            )
        compare_masks(self, path, loads_masks(self.owner))
