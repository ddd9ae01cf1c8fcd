"""Loading of images that names a broken file."""

import cv2
import mmcv.transforms

from mmspike.errors import UserError
from mmspike.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """Load an image like mmcv, but refuse a truncated one instead of training on its grey rest.

    The arguments are those of `mmcv.transforms.LoadImageFromFile`.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']`` into ``results['img']``.

        Args:
            results: As for the stock transform.

        Raises:
            UserError: If the file is absent, empty, truncated or no image.
        """
        if self.ignore_empty:
            return super().transform(results)
        path = results['img_path']
        # Reading again costs little from the page cache, but double from a remote backend.
        if not self.backend_args and not self.file_client_args:
            _check_file(path)
        try:
            return super().transform(results)
        except (AssertionError, OSError, ValueError, cv2.error) as error:
            raise UserError(
                f"'{path}' cannot be read as an image; replace the file or take it "
                'out of the annotations.'
            ) from error


def _check_file(path: str) -> None:
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UserError(
            f"Image '{path}' cannot be opened ({error.strerror}); restore the file or "
            'take it out of the annotations.'
        ) from error
    if not data:
        raise UserError(
            f"'{path}' is empty (0 bytes), but an image was expected; copy or download it again."
        )
    if not is_complete(data):
        raise UserError(
            f"'{path}' is truncated after {len(data)} bytes; copy or download it again."
        )


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
