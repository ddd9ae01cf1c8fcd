"""Files of events: reading and checking."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmspike.errors import UserError

from .transforms import check_file

COLUMNS = ('t', 'x', 'y', 'p')
COMMENTS = ('#', '%')
# What libraries of events call them, without a unit.
NAMES = {
    't': 't|ts|times?|time_?stamps?',
    'x': 'xs?|x_?(pos|position|addr|address|coord|coordinate)s?|pos_?x|cols?|columns?',
    'y': 'ys?|y_?(pos|position|addr|address|coord|coordinate)s?|pos_?y|rows?',
    'p': 'ps?|pols?|polarity|polarities',
}
UNIT = r'[_ \[(]+(ns|us|µs|ms|s|sec|px)[\])]?$'
# What numpy and zipfile raise of broken, encrypted, strangely packed or untrue files.
UNREADABLE = (
    *(BadZipFile, EOFError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, zlib.error),
)


def read_events(path: str) -> np.ndarray:
    """Read the events of a file, as `mmspike.LoadEvents` describes them.

    Args:
        path: The file.

    Shape:
        - returns: ``[N, 4]``, float64

    Raises:
        UserError: If the file cannot be read or holds no event.
    """
    check_file(path, 'Event file')
    read = {'.npy': _read_npy, '.npz': _read_npz}.get(Path(path).suffix.lower(), _read_text)
    try:
        events = np.asarray(read(path))
        if events.size and (events.ndim != 2 or events.shape[1] != len(COLUMNS)):
            raise ValueError(f'shape {events.shape}')
        events = events.astype(np.float64)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(
            f"'{path}' cannot be read as events, which are an array or a text of four columns "
            '(t, x, y, p), or of these names; correct the file or take it out of the dataset.'
        ) from error
    if not events.size:
        raise UserError(
            f"Event file '{path}' holds no event, but a sample needs some; replace the file or "
            'take it out of the dataset.'
        )
    return events


def _read_npy(path: str) -> np.ndarray:
    return _array(np.load(path, allow_pickle=False))


def _read_npz(path: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        if _order(archive.files):
            return _columns(archive, archive.files)
        (array,) = archive.values()
        return _array(array)


def _array(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.names is None else _columns(array, array.dtype.names)


def _columns(arrays: np.ndarray | Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    chosen = [arrays[names[place]] for place in _order(names) or ()]
    return np.stack([np.asarray(array, np.float64) for array in chosen], axis=1)


def _order(names: Sequence[str]) -> list[int] | None:
    """Find the places of t, x, y and p among names of columns; None if one is not there."""
    plain = [re.sub(UNIT, '', name.strip(' \t"\'#%').lower().rpartition('/')[2]) for name in names]
    places = [
        next((i for i, name in enumerate(plain) if re.fullmatch(NAMES[column], name)), None)
        for column in COLUMNS
    ]
    return None if None in places else [place for place in places if place is not None]


def _read_text(path: str) -> np.ndarray:
    text = Path(path).read_text(encoding='utf-8-sig')
    order, skipped = None, 0
    for line in text.splitlines():
        words = line.strip(' \t#%').split(',' if ',' in line else None)
        order = _order(words) or order  # Of a heading, as a comment or not.
        size_of_sensor = len(words) == 2
        if line.strip() and not line.lstrip().startswith(COMMENTS) and not size_of_sensor:
            skipped += bool(_order(words))
            break
        skipped += 1
    text = re.sub('[,;]', ' ', text)
    for word, number in (('true', '1'), ('false', '0')):
        text = re.sub(rf'\b{word}\b', number, text, flags=re.IGNORECASE)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Of a text without events, which is refused later.
        lines = io.StringIO(text)
        return np.loadtxt(lines, ndmin=2, comments=COMMENTS, usecols=order, skiprows=skipped)


def check_events(events: np.ndarray, sensor_size: tuple[int, int], path: str) -> None:
    """Demand time stamps in order, pixels of the sensor and two polarities.

    Args:
        events: As `read_events` gives them.
        sensor_size: Width and height of the sensor in pixels.
        path: Their file, for the message.

    Raises:
        UserError: If an event is not as demanded.
    """
    time, x, y, polarity = events.T
    width, height = sensor_size

    def refuse(wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            event = int(wrong.argmax())
            t, x, y, p = (f'{value:.17g}' for value in events[event])
            raise UserError(f"Event {event} of '{path}' has {what.format(t=t, x=x, y=y, p=p)}.")

    refuse(
        ~np.isfinite(events).all(axis=1),
        'a value that is no finite number (t={t}, x={x}, y={y}, p={p}); correct the file or take '
        'it out of the dataset',
    )
    # Sorted, those of a clock that went over its end would be wrong without a word.
    refuse(
        np.diff(time, prepend=time[0]) < 0,
        'the time stamp {t}, which is earlier than that of the event before, but events must come '
        'in the order of time; sort the file by its time stamps, or undo the overflow of its clock',
    )
    refuse(
        (x != x // 1) | (y != y // 1) | (x < 0) | (y < 0) | (x >= width) | (y >= height),
        f'the place x={{x}}, y={{y}}, which is no pixel of a sensor of {width}x{height}; set '
        'sensor_size of the dataset to (width, height), or correct the file',
    )
    refuse(
        ~np.isin(polarity, (-1, 0, 1)),
        'the polarity {p}, but it must be 0 or -1 (darker) or 1 (brighter); correct the file, '
        'whose columns are t, x, y and p',
    )
