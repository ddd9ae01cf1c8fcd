"""COCO's layout: mmdet's dataset, which checks the annotations that it has read."""

from mmdet.datasets import CocoDataset as StockCocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.dist import is_main_process

from mmspike.datasets.annotation_samples import compare_masks
from mmspike.datasets.annotations import (
    AnnotationFile,
    CountFiltered,
    check_annotations,
    loads_masks,
)
from mmspike.errors import UserError
from mmspike.registry import DATASETS


@DATASETS.register_module()
class CocoDataset(CountFiltered, StockCocoDataset):
    """mmdet's `CocoDataset`, but annotations that cannot be right are refused in one sentence.

    Classes are matched by name, so order and ids of the categories do not matter. Entries of one
    picture become one, and copies of objects are left out. The arguments are those of
    `mmdet.datasets.CocoDataset`; a dataset of your own is checked if it is derived from this one.

    Attributes:
        annotation_file: What the file holds.

    Raises:
        UserError: As `mmspike.datasets.annotations.check_annotations`.
    """

    annotation_file: AnnotationFile | None = None

    def COCOAPI(self, path: str) -> COCO:  # noqa: N802  # What the stock class loads the file with.
        return _CheckedCOCO(self, path)


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
        self.owner.annotation_file = check_annotations(self.owner, self.dataset)
        super().createIndex()
        if is_main_process():
            compare_masks(self, self.owner.ann_file, loads_masks(self.owner))
