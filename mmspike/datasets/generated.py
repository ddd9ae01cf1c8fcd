"""Shared by generated datasets: write one whole or not at all, and recognize it later."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmspike.errors import UserError

MANIFEST = 'shapes.json'
SPLITS = ('train', 'val')


def check_arguments(counts: dict[str, int], size: int, seed: int) -> None:
    """Check what a generator was asked for.

    Args:
        counts: The number of pictures or samples of each split.
        size: Their height and width in pixels.
        seed: The seed.

    Raises:
        UserError: If a number is out of range.
    """
    for split, count in counts.items():
        if count < 1:
            raise UserError(f'num_{split} is {count}, but at least 1 image is needed.')
    if size < 32:
        raise UserError(f'size is {size}, but shapes need images of at least 32 pixels.')
    if seed < 0:
        raise UserError(f'seed is {seed}, but it must not be negative.')


def is_there(root: Path, manifest: dict) -> bool:
    """Tell whether a folder holds a dataset already.

    Args:
        root: The folder.
        manifest: What the dataset was made with.

    Raises:
        UserError: If the folder holds anything else.
    """
    if not root.exists() or root.is_dir() and not any(root.iterdir()):
        return False
    path = root / MANIFEST
    if not path.is_file():
        raise UserError(
            f"'{root}' holds something other than generated shapes; name a new or an empty folder."
        )
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if found != manifest:
        raise UserError(
            f"'{root}' holds shapes made with {found}, not with {manifest}; "
            'name another folder or delete that one.'
        )
    return True


@contextmanager
def written_whole(target: Path, is_done: Callable[[], bool]) -> Iterator[Path]:
    """Give a folder to write to, which takes the name of `target` at the end.

    A kill leaves no half dataset.

    Args:
        target: A folder that is absent or empty, in one that is there.
        is_done: Tells whether another process has finished the same folder in the meantime.
    """
    draft = target.parent / f'.{target.name}.{os.getpid()}.tmp'
    try:
        yield draft
        try:
            draft.rename(target)
        except OSError:
            if not is_done():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
