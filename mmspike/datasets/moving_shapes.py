"""A seeded dataset of events before a camera: where a shape travels to is the class.

In every sample one shape travels along one axis, and another along the other axis; the time of the
second is cut into pieces and shuffled. Neither a single frame nor the sum of all frames tells the
class, only their order does: both shapes look alike, both leave as long a streak, borders lead to
the opposite side, and a bright shape's frames are those of a dark one on its way back.
"""

import json
from pathlib import Path

import numpy as np

from .generated import MANIFEST, SPLITS, check_arguments, is_there, written_whole

DIRECTIONS = {'right': (1, 0), 'down': (0, 1), 'left': (-1, 0), 'up': (0, -1)}  # As x, y.
CLASSES = tuple(DIRECTIONS)
PIECES = 8
PIECE_TIME = 10_000  # Microseconds.
# Travelled in each piece, and the range of radii, both as shares of the size.
SPEED = 3 / 32
RADIUS = (0.08, 0.16)
NOISE = 0.02  # Events without a cause, per pixel.


def generate_moving_shapes(
    root: str | Path, num_train: int = 2000, num_val: int = 200, size: int = 32, seed: int = 0
) -> Path:
    """Write a dataset of event files in folders named by the direction of motion.

    A file is an array ``[N, 4]`` of (t, x, y, p) for `mmspike.EventDataset`; t counts microseconds.
    Sample i of a split depends on ``seed``, ``size`` and i alone, so a larger dataset begins with
    the smaller one. A folder that holds the same dataset already is returned as it is.

    Args:
        root: Folder of the dataset; must be absent, empty or hold the same dataset.
        num_train: Samples in ``train/``, of all classes in turn.
        num_val: Samples in ``val/``.
        size: Width and height of the sensor in pixels.
        seed: Chooses another dataset of the same kind.

    Raises:
        UserError: If an argument is out of range or ``root`` holds anything else.
    """
    root = Path(root)
    counts = dict(zip(SPLITS, (num_train, num_val), strict=True))
    check_arguments(counts, size, seed)
    manifest = dict(generator='mmspike.moving_shapes', version=1, **counts, size=size, seed=seed)
    if is_there(root, manifest):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(root, lambda: is_there(root, manifest)) as draft:
        for split, count in counts.items():
            _write_split(draft / split, count, size, [seed, SPLITS.index(split)])
        (draft / MANIFEST).write_text(json.dumps(manifest))
    return root


def _write_split(folder: Path, count: int, size: int, seed: list[int]) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        name = CLASSES[index % len(CLASSES)]
        events = draw_events(np.random.default_rng([*seed, index]), name, size)
        np.save(folder / name / f'{index + 1:06d}.npy', events)


def draw_events(rng: np.random.Generator, direction: str, size: int) -> np.ndarray:
    """Draw one sample.

    Args:
        rng: The only source of randomness; it is asked for the same whatever the direction.
        direction: Where one of the two shapes travels to.
        size: Width and height of the sensor in pixels.

    Returns:
        Events ``[N, 4]`` as (t, x, y, p), int32, in the order of time.
    """
    own = DIRECTIONS[direction]
    events = [_draw_noise(rng, size)]
    for axis in np.eye(2, dtype=int):
        mask, bright = _draw_mask(rng, size), bool(rng.integers(2))
        sense, order = rng.choice([-1, 1]), rng.permutation(PIECES)
        towards = axis * sense
        if axis @ own:
            towards, order = np.array(own), np.arange(PIECES)
        for piece, place in zip(move(mask, towards, bright), order, strict=True):
            piece[:, 0] += place * PIECE_TIME
            events.append(piece)
    events = np.concatenate(events)
    return events[np.argsort(events[:, 0], kind='stable')].astype(np.int32)


def move(mask: np.ndarray, towards: np.ndarray, bright: bool) -> list[np.ndarray]:
    """Move a shape pixel by pixel, past the border to the opposite side.

    Args:
        mask: The pixels that it covers at first, ``[size, size]``.
        towards: The direction as x, y.
        bright: Whether it is brighter than its surroundings.

    Returns:
        For each piece of the time the events ``[N, 4]`` as (t, x, y, p), with t from its beginning.
    """
    steps = max(1, round(SPEED * len(mask)))
    pieces = []
    for _ in range(PIECES):
        events = []
        for step in range(steps):
            after = np.roll(mask, tuple(towards[::-1]), axis=(0, 1))
            y, x = np.nonzero(after != mask)
            time = np.full(len(x), PIECE_TIME * (2 * step + 1) // (2 * steps))
            events.append(np.stack([time, x, y, after[y, x] == bright], axis=1))
            mask = after
        pieces.append(np.concatenate(events))
    return pieces


def _draw_mask(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a disc, a square or a diamond of any size at any place."""
    y, x = np.abs(np.mgrid[:size, :size] - size // 2)
    distance = (np.hypot(x, y), np.maximum(x, y), x + y)[rng.integers(3)]
    mask = distance <= size * rng.uniform(*RADIUS)
    return np.roll(mask, rng.integers(size, size=2), axis=(0, 1))


def _draw_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    count = round(NOISE * size * size)
    limits = (PIECES * PIECE_TIME, size, size, 2)
    noise = np.stack([rng.integers(limit, size=count) for limit in limits], axis=1)
    noise[:2, 0] = 0, limits[0] - 1  # Every recording lasts as long: its pieces have their frames.
    return noise
