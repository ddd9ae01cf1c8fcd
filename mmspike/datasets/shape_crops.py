"""The objects of generated shapes one by one, for classification."""

import json
from pathlib import Path

import cv2

from mmspike.errors import UserError

from .generated import SPLITS, written_whole
from .shapes import CLASSES

CROPS = 'crops'
MARGIN = 1.3  # The side of a crop in units of the object's longer side.


def cut_shapes(root: str | Path, size: int = 48) -> Path:
    """Cut every object of generated shapes out of its picture.

    The layout is that of mmpretrain's `CustomDataset`, ``crops/<split>/<class>/<id>.png``. Crops
    that are there already stay.

    Args:
        root: What `generate_shapes` returned.
        size: Height and width of a crop in pixels.

    Returns:
        The folder of the crops.

    Raises:
        UserError: If `root` holds no generated shapes.
    """
    root = Path(root)
    target = root / CROPS
    if target.is_dir():
        return target
    try:
        with written_whole(target, target.is_dir) as draft:
            for split in SPLITS:
                _cut_split(root, draft, split, size)
    except FileNotFoundError as error:
        raise UserError(
            f"'{root}' holds no generated shapes ('{error.filename}' is not there); make them "
            'with tools/make_shapes.py.'
        ) from error
    return target


def _cut_split(root: Path, draft: Path, split: str, size: int) -> None:
    annotations = json.loads((root / 'annotations' / f'instances_{split}.json').read_text())
    names = {image['id']: image['file_name'] for image in annotations['images']}
    for name in CLASSES:
        (draft / split / name).mkdir(parents=True)
    for instance in annotations['annotations']:
        path = root / split / names[instance['image_id']]
        image = cv2.imread(str(path))
        if image is None:
            raise UserError(
                f"'{path}' cannot be read as an image; delete the folder of the shapes and make "
                'them again with tools/make_shapes.py.'
            )
        x, y, width, height = instance['bbox']
        side = max(2, round(MARGIN * max(width, height)))
        centre = (x + width / 2, y + height / 2)
        crop = cv2.getRectSubPix(image, (side, side), centre)  # Repeats the border outside.
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        name = CLASSES[instance['category_id'] - 1]
        cv2.imwrite(str(draft / split / name / f'{instance["id"]:06d}.png'), crop)
