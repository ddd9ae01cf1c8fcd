"""Loading of images and label maps that names a broken file."""

import logging
import os
from io import BytesIO

import cv2
import mmcv.transforms
import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from PIL import Image, ImageSequence
from PIL.Image import DecompressionBombError

from mmspike.errors import UserError
from mmspike.registry import TRANSFORMS

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.pgm', '.tif', '.tiff', '.webp')
ORIENTATION = 0x0112  # The tag of EXIF.
TIFF = b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'
SUBFILE = 254  # The tag of a TIFF's page: 1 of a smaller copy, 4 of a mask.
SIDEWAYS = 5  # From here on the tag exchanges width and height.
TURNED = ('color', 'grayscale')  # The color_type with which mmcv turns a picture as its EXIF says.
AS_STORED = '_ignore_orientation'
DARK = 64  # Of 255: all that the upper eight of 16 bits can show of the 14 of a camera.


class _Loader(type(mmcv.transforms.LoadImageFromFile)):  # type: ignore[misc]
    """Lets a class pass where mmdet's tools look for the stock loader by comparing classes."""

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is mmcv.transforms.LoadImageFromFile

    def __hash__(cls) -> int:
        return hash(mmcv.transforms.LoadImageFromFile)


# Under the stock name too: tools of the libraries look for a loader by it.
@MMENGINE_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile, metaclass=_Loader):
    """Load an image like mmcv, but refuse a truncated one instead of training on its grey rest.

    Of 16 bits mmcv keeps the upper eight; an image whose values of 10 to 14 bits have little or
    nothing there is refused too.

    A camera writes beside the pixels how they are to be turned (EXIF), and mmcv turns the image,
    but no box and no label map. Where the size that the annotations state, or that of the label
    map, is the size as stored, the image is left as stored. Where both sizes are the same, nothing
    tells which is meant. A warning says either once.

    The arguments are those of `mmcv.transforms.LoadImageFromFile`, whose name in configs means this
    class as soon as it, or a model of mmspike, is imported.
    """

    color_type: str
    _warned: set[str] = set()  # Of all loaders of the process.

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']`` into ``results['img']``.

        Args:
            results: As for the stock transform.

        Raises:
            UserError: If the file is absent, empty, truncated, no image, dark as its 16 bits are
                not used, or of another size than ``results['width']`` and ``results['height']``.
        """
        if self.ignore_empty:
            return super().transform(results)
        path = results['img_path']
        # Reading again costs little from the page cache, but double from a remote backend.
        if not self.backend_args and not self.file_client_args:
            check_file(path, 'Image')
        try:
            results = super().transform(results)
            self._turn_back(results)
        except UserError:
            raise
        except (AssertionError, OSError, ValueError, cv2.error, DecompressionBombError) as error:
            raise UserError(
                f"'{path}' cannot be read as an image; replace the file or take it out of the "
                'dataset.'
            ) from error
        image = results['img']
        as_stored = image.dtype == np.uint16  # With color_type='unchanged'.
        if not as_stored and image.max(initial=0) <= DARK and _uses_low_bits(path):
            raise UserError(
                f"'{path}' has 16 bits a channel and uses the lower of them, but mmcv keeps the "
                'upper eight, which makes it dark or black; write it with 8 bits, scaled to 0 to '
                '255.'
            )
        return results

    def _turn_back(self, results: dict) -> None:
        """Leave an image as stored where what belongs to it is for that; see the class."""
        path, (height, width) = results['img_path'], results['img_shape']
        told, what = (results.get('width'), results.get('height')), 'boxes'
        orientation = _orientation(path) if self.color_type in TURNED else 1
        if 'instances' not in results:
            if orientation < 2 or 'seg_map_path' not in results:
                return
            told, what = _size(results['seg_map_path']), 'label map'
        if told == (width, height):
            if orientation > 1 and (orientation < SIDEWAYS or width == height):
                if 'unknown' not in self._warned:
                    self._warned.add('unknown')
                    warn_of_orientation(path, orientation, what)
        elif orientation >= SIDEWAYS and told == (height, width):
            colour, self.color_type = self.color_type, self.color_type + AS_STORED
            try:
                super().transform(results)
            finally:
                self.color_type = colour
            if 'stored' not in self._warned:
                self._warned.add('stored')
                print_log(
                    f"The EXIF orientation {orientation} of '{path}' turns it, but its {what} "
                    f'{"are" if what == "boxes" else "is"} for {told[0]}x{told[1]} pixels, as '
                    'stored: it is loaded so, though viewers show it turned (said once).',
                    logger='current',
                    level=logging.WARNING,
                )
        elif what == 'boxes' and None not in told:
            raise UserError(
                f"The annotations say that '{path}' is {told[0]} pixels wide and {told[1]} high, "
                f'but it is {width} and {height}; correct the sizes and boxes.'
            )


def orientation_of(image: Image.Image) -> int:
    """Read from an image's EXIF how it is to be turned, 1 for not at all."""
    orientation = image.getexif().get(ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def warn_of_orientation(path: str, orientation: int, what: str) -> None:
    """Say that nothing tells whether boxes or a label map are for an image as stored or as turned.

    Args:
        path: The image.
        orientation: Of its EXIF.
        what: ``'boxes'`` or ``'label map'``.
    """
    print_log(
        f"The EXIF orientation {orientation} of '{path}' turns or mirrors it, and it is loaded so, "
        f'but its size does not tell whether its {what} went along; if not, write the images '
        f"without EXIF, or set color_type='color{AS_STORED}' of LoadImageFromFile (said once).",
        logger='current',
        level=logging.WARNING,
    )


def _orientation(path: str) -> int:
    try:
        with Image.open(path) as image:
            return orientation_of(image)
    except (OSError, ValueError, SyntaxError, DecompressionBombError):  # Not a file on a disk.
        return 1


def _size(path: str) -> tuple[int | None, int | None]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, DecompressionBombError):
        return None, None


def _uses_low_bits(path: str) -> bool:
    """Whether a file stores 16 bits a channel, of any number of channels, and uses at most 14."""
    stored = cv2.imread(path, cv2.IMREAD_UNCHANGED) if os.path.isfile(path) else None
    return stored is not None and stored.itemsize == 2 and 0 < stored.max() < 1 << 14


@TRANSFORMS.register_module()
class LoadSegAnnotations(mmcv.transforms.LoadAnnotations):
    """Load a label map as mmseg's `LoadAnnotations` does, but refuse one that no model can learn.

    Without `seg_map_path`, as where a single image is predicted, it does nothing.

    Args:
        num_classes: Of the dataset; the tools of mmspike set it from its `classes`. None looks for
            no id outside the classes.
        ignore_index: The id of the pixels that have no class.
        imdecode_backend: The decoder; `cv2` opens a palette PNG as its colours.
        backend_args: Where the files lie, as in mmengine.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        ignore_index: int = 255,
        imdecode_backend: str = 'pillow',
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            with_bbox=False,
            with_label=False,
            with_seg=True,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.ignored_as: int | None = None  # What the model ignores; None leaves ids alone.

    def transform(self, results: dict) -> dict:
        """Load ``results['seg_map_path']`` into ``results['gt_seg_map']``.

        Args:
            results: As for mmseg's transform.

        Shape:
            - ``gt_seg_map``: ``[H, W]`` of class ids, uint8

        Raises:
            UserError: If the file is absent, broken or of another size than the image, or holds
                colours or an id that is no class.
        """
        if 'seg_map_path' in results:
            return super().transform(results)
        if 'seg_fields' in results:  # From a dataset of mmseg.
            raise UserError(
                f"Image '{results['img_path']}' has no label map, because the dataset names no "
                'folder of them; set data_prefix.seg_map_path of the dataset.'
            )
        return results

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        if not self.backend_args:
            check_file(path, 'Label map')
        try:
            super()._load_seg_map(results)
        # A decoder of OpenCV returns None, which has no squeeze.
        except (AttributeError, OSError, ValueError, cv2.error, DecompressionBombError) as error:
            raise UserError(
                f"'{path}' cannot be read as a label map; replace the file or take its image out "
                'of the dataset.'
            ) from error
        ids = results['gt_seg_map']
        self._check_shape(ids, path, results)
        table = training_ids(results)
        self._check_ids(ids, table, path, results)
        if self.ignored_as is not None:
            table[np.isin(table, self._ignored(results))] = self.ignored_as
        results['gt_seg_map'] = table[ids.astype(np.uint8)]
        results['seg_fields'].append('gt_seg_map')

    def _check_shape(self, ids: np.ndarray, path: str, results: dict) -> None:
        if ids.ndim != 2:
            raise UserError(
                f"Label map '{path}' was opened with {ids.shape[-1]} channels of colour, but one "
                'channel of class ids was expected; store the ids (8-bit grey or palette PNG), and '
                "open a palette PNG with imdecode_backend='pillow'."
            )
        expected = results.get('ori_shape', ids.shape)
        if tuple(expected) != ids.shape:
            size, wanted = (f'{width}x{height}' for height, width in (ids.shape, expected))
            raise UserError(
                f"Label map '{path}' is {size} pixels, but its image '{results['img_path']}' is "
                f'{wanted}; give both the same size.'
            )

    def _ignored(self, results: dict) -> list[int]:
        """List the training ids of pixels without a class, in which mmseg's own is 255."""
        own = [self.ignore_index, self.ignore_index if self.ignored_as is None else self.ignored_as]
        return [*own, 255] if results.get('reduce_zero_label') or results.get('label_map') else own

    def _check_ids(self, ids: np.ndarray, table: np.ndarray, path: str, results: dict) -> None:
        """Demand that each id of the file is a class or ignored."""
        if ids.dtype == np.uint8:
            present = np.flatnonzero(np.bincount(ids.ravel()))  # Many times faster than unique.
        else:
            present = np.unique(ids)
        wrong = present[present != present.astype(np.uint8)]
        if not wrong.size and self.num_classes is not None:
            classes = table[present.astype(np.uint8)]
            known = (classes < self.num_classes) | np.isin(classes, self._ignored(results))
            wrong = present[~known]
        if not wrong.size:
            return
        # The file's ids are those of all classes that the dataset could have.
        count = len(results.get('label_map') or ()) or self.num_classes or 255
        first = int(results.get('reduce_zero_label', False))
        ignored = ' and '.join(map(str, [0, self.ignore_index][1 - first :]))
        raise UserError(
            f"Label map '{path}' holds the id {wrong[0]}, but those of its classes go from {first} "
            f'to {first + count - 1} (ignored: {ignored}); correct the label map, or '
            'metainfo.classes or reduce_zero_label of the dataset.'
        )


def training_ids(results: dict) -> np.ndarray:
    """Give the training id ``[256]`` of each id of a file, in the steps of mmseg.

    With ``reduce_zero_label`` the id 0 is ignored and the others count from 1; ``label_map`` is
    there when only some classes are used.
    """
    table: np.ndarray = np.arange(256)
    if results.get('reduce_zero_label'):
        table = np.where(table % 255 == 0, 255, table - 1)
    label_map = results.get('label_map') or {}
    return np.array([label_map.get(i, i) for i in table.tolist()], np.uint8)


def to_file_ids(labels: np.ndarray, info: dict) -> np.ndarray:
    """Turn training ids into those of the label maps of a dataset: `training_ids` the other way.

    Args:
        labels: Training ids.
        info: As for `training_ids`.
    """
    if labels.max(initial=0) > 255:  # More than a label map of mmseg can hold.
        return labels.astype(np.uint16)
    ids = np.arange(256, dtype=np.uint8)
    ids[training_ids(info)[::-1]] = ids[::-1].copy()  # Of several ids the lowest, written last.
    return ids[labels]


def check_file(path: str, kind: str) -> None:
    """Demand a file that can be opened and is not empty.

    Args:
        path: The file.
        kind: What it is, for the message.

    Raises:
        UserError: If it cannot be opened, has no bytes, is truncated or a stack of pages.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UserError(
            f"{kind} '{path}' cannot be opened ({error.strerror}); restore the file or take it "
            'out of the dataset.'
        ) from error
    if not data:
        raise UserError(f"{kind} '{path}' is empty (0 bytes); copy or download it again.")
    pages = count_pages(data)
    if pages > 1:
        raise UserError(
            f"{kind} '{path}' is a stack of {pages} pages, of which the first alone would be read; "
            'write each page as a file of its own.'
        )
    if not is_complete(data):
        raise UserError(
            f"'{path}' is truncated after {len(data)} bytes; copy or download it again."
        )


def count_pages(data: bytes) -> int:
    """Count the pages of a TIFF; smaller copies and masks of the first are none.

    Args:
        data: The bytes of the whole file; of other formats it is one page.
    """
    if data[:4] not in TIFF:
        return 1
    pages, size = 0, None
    try:
        with Image.open(BytesIO(data)) as image:
            for page in ImageSequence.Iterator(image):
                size = size or page.size
                pages += page.size == size and not getattr(page, 'tag_v2', {}).get(SUBFILE, 0)
    except (OSError, ValueError, SyntaxError, TypeError, DecompressionBombError):
        pass  # The decoder says what is wrong.
    return pages


def is_complete(data: bytes) -> bool:
    """Tell whether a JPEG or PNG has its end; other formats are left to the decoder.

    Args:
        data: The bytes of the whole file.
    """
    if data.startswith(b'\x89PNG'):
        return b'IEND\xaeB`\x82' in data
    if not data.startswith(b'\xff\xd8'):
        return True
    # Walk over the header's segments: the thumbnail in one of them has an end of its own.
    position = 2
    while data[position : position + 1] == b'\xff':
        if data[position + 1 : position + 2] == b'\xda':
            return b'\xff\xd9' in data[position:]
        position += 2 + max(int.from_bytes(data[position + 2 : position + 4], 'big'), 2)
    return True
