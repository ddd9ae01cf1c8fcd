"""What a user may give: an image, a folder of images or a video as input, a folder for output."""

import errno
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from mmspike.config import config_parser
from mmspike.datasets.transforms import IMAGES
from mmspike.errors import UserError

VIDEOS = ('.avi', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')

Input = str | Path | np.ndarray | Image.Image


def as_array(item: object) -> np.ndarray:
    """Take an image that is no file as an array ``[H, W, C]`` in BGR.

    Args:
        item: Such an array, or a Pillow image, which is turned as its EXIF says.

    Raises:
        UserError: If it is anything else, or a Pillow image of other values than 8 bits.
    """
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, Image.Image):
        if item.mode.startswith(('I', 'F')):
            raise UserError(
                f'the Pillow image has the mode {item.mode!r}, but 8 bits were expected; scale it '
                "to 0 to 255 and convert it to 'L' or 'RGB'."
            )
        turned = ImageOps.exif_transpose(item).convert('RGB')
        return np.ascontiguousarray(np.asarray(turned)[..., ::-1])
    raise UserError(
        f'an input is a {type(item).__name__}, but each must be the path of an image, a Pillow '
        'image, or a numpy array [H, W, C] in BGR from 0 to 255; convert it.'
    )


def find_images(path: str | Path) -> list[Path]:
    """List the images that a path names: itself, or those that lie in it as a folder.

    Only the folder itself is looked at, not the folders in it. The images come sorted by name;
    other files are passed over.

    Args:
        path: An image or a folder.

    Raises:
        UserError: If there is nothing, it is no image, or the folder holds none.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES and p.is_file())
        found = [p for p in found if not p.name.startswith('.')]
        if not found:
            raise UserError(
                f"Folder '{path}' holds no image ({', '.join(IMAGES)}); give a folder with images "
                'directly in it, or one image.'
            )
        return found
    if not path.exists():
        raise UserError(f"Input '{path}' is not there; give an image, a folder or a video.")
    if path.suffix.lower() not in IMAGES:
        raise UserError(
            f"Input '{path}' is neither an image ({', '.join(IMAGES)}) nor a video "
            f'({", ".join(VIDEOS)}); give one of these or a folder.'
        )
    return [path]


def passed_over(folder: str | Path) -> str:
    """Say what lies in a folder beside its images; nothing if there is nothing else.

    Args:
        folder: The folder.
    """
    images = set(find_images(folder))
    others = sorted(p.name for p in Path(folder).expanduser().iterdir() if p not in images)
    others = [name for name in others if not name.startswith('.')]
    if not others:
        return ''
    return f"{len(others)} in '{folder}' passed over, which are no images, such as '{others[0]}'"


def make_folder(folder: Path) -> Path:
    """Make a folder for output, and return it.

    Raises:
        UserError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Output folder '{folder}' cannot be made ({error.strerror}); choose another --out-dir."
        ) from error
    return folder


def explain_unwritten(path: Path, error: Exception) -> str:
    """Say that an output cannot be written, and why: the first part of a sentence.

    Args:
        path: The output.
        error: What writing it raised.
    """
    reason = getattr(error, 'strerror', None) or str(error).splitlines()[0]
    full = ': the disk is full' if getattr(error, 'errno', None) == errno.ENOSPC else ''
    return f"'{path}' cannot be written ({reason}){full}"


def is_video(path: str | Path) -> bool:
    """Tell by its name whether a file that exists is a video."""
    path = Path(path).expanduser()
    return path.is_file() and path.suffix.lower() in VIDEOS


class Video:
    """The frames of a video, read one after the other.

    Args:
        path: A video file.

    Raises:
        UserError: If it cannot be read as a video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._capture = cv2.VideoCapture(str(self.path))
        has_frame, self._first = self._capture.read()
        if not has_frame:
            raise UserError(
                f"'{path}' cannot be read as a video; play it to see whether it is whole, or "
                'convert it to mp4.'
            )
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        # What the file says of itself; broken videos end before.
        self.num_frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)

    def __iter__(self) -> Iterator[np.ndarray]:
        frame: np.ndarray | None = self._first
        while frame is not None:
            yield frame
            frame = self._capture.read()[1]
        self._capture.release()

    def missing(self, read: int) -> str:
        """Say how many of the frames that the file tells of are missing; nothing if none is.

        Args:
            read: How many frames could be read.
        """
        if read >= self.num_frames:
            return ''
        return (
            f"of the {self.num_frames} frames that '{self.path}' tells of, {read} could be read; "
            'copy or download it again if it is not whole'
        )


class VideoWriter:
    """Write pictures of one size as an mp4 video.

    Args:
        path: The file to write.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.fps = fps
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        """Append a picture, ``[H, W, 3]`` in RGB; an odd row or column is left out.

        Raises:
            UserError: If this build of OpenCV cannot write an mp4 video.
        """
        # The codec halves the resolution of the colours.
        height, width = (length // 2 * 2 for length in picture.shape[:2])
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self.path), codec, self.fps, (width, height))
            if not self._writer.isOpened():
                raise UserError(
                    f"'{self.path}' cannot be written as an mp4 video by this build of OpenCV; "
                    'give a folder of images instead of the video.'
                )
        self._writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def picture_parser(description: str) -> ArgumentParser:
    """Make the parser of a command that takes pictures in and writes pictures."""
    parser = config_parser(description)
    parser.add_argument('--out-dir', help='folder to write to')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    return parser
