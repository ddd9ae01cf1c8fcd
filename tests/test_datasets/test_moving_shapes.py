"""Moving shapes: only the order of the frames tells the class, and the same files every time."""

import json

import numpy as np
import pytest

from mmspike.datasets import BinEvents, generate_moving_shapes, moving_shapes
from mmspike.datasets.moving_shapes import CLASSES, DIRECTIONS, PIECES, draw_events, move
from mmspike.errors import UserError

SIZE = 32


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def frames_of(direction, seed):
    """Bin one sample into the frames ``[T, 2, H, W]`` that the config makes."""
    events = draw_events(np.random.default_rng(seed), direction, SIZE).astype(float)
    results = dict(events=events, sensor_size=(SIZE, SIZE), img_path='sample')
    stack = BinEvents(PIECES, by='time').transform(results)['img']
    return stack.reshape(SIZE, SIZE, PIECES, 2).transpose(2, 3, 0, 1)


def a_mask():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[8:14, 5:11] = mask[14:17, 5:8] = True
    return mask


@pytest.mark.parametrize('direction', CLASSES)
def test_events_are_where_the_brightness_changes(direction):
    """Painted by its events, the picture of the start becomes that of the end."""
    towards = np.array(DIRECTIONS[direction])
    picture = a_mask().astype(int)
    pieces = move(a_mask(), towards, bright=True)
    assert len(pieces) == PIECES
    for piece in pieces:
        for _, x, y, p in piece:
            picture[y, x] += 2 * p - 1
            assert picture[y, x] in (0, 1)
    travelled = PIECES * round(moving_shapes.SPEED * SIZE)
    end = np.roll(a_mask(), tuple(travelled * towards[::-1]), axis=(0, 1))
    assert np.array_equal(picture, end)


@pytest.mark.parametrize('direction', CLASSES)
def test_the_way_back_of_a_dark_shape_is_the_film_of_a_bright_one_played_backwards(direction):
    towards = np.array(DIRECTIONS[direction])
    travelled = PIECES * round(moving_shapes.SPEED * SIZE)
    end = np.roll(a_mask(), tuple(travelled * towards[::-1]), axis=(0, 1))
    there = move(a_mask(), towards, bright=True)
    back = move(end, -towards, bright=False)
    for forward, backward in zip(there, reversed(back), strict=True):
        assert sorted(forward[:, 1:].tolist()) == sorted(backward[:, 1:].tolist())


def test_the_sum_of_all_frames_does_not_tell_the_axis():
    """What goes right and what goes down differ only in which of two shapes was shuffled."""
    equal = 0
    for seed in range(40):
        right, down = (frames_of(direction, seed) for direction in ('right', 'down'))
        if np.array_equal(right.sum(0), down.sum(0)):  # Both shapes were to go that way anyhow.
            equal += 1
            assert not np.array_equal(right, down)
    assert 4 <= equal <= 20


def test_single_frames_look_alike_in_all_classes():
    """The classes agree, within the noise of drawing, in what a frame shows of axis and sense."""

    def features(frames):
        """How well on and off fit when shifted by each of the four directions."""
        off, on = frames[:, 0] > 0, frames[:, 1] > 0
        shifts = [(dy * 6, dx * 6) for dx, dy in DIRECTIONS.values()]
        return [
            [(a & np.roll(b, shift, axis=(0, 1))).sum() for shift in shifts]
            for a, b in zip(on, off, strict=True)
        ]

    shown = {
        name: np.concatenate([features(frames_of(name, [seed, i])) for seed in range(40)])
        for i, name in enumerate(CLASSES)
    }
    means = np.array([values.mean(0) for values in shown.values()])
    # Frames of one sample show the same two shapes: 40 samples are independent.
    error = np.concatenate(list(shown.values())).std(0) / np.sqrt(40)
    assert (np.ptp(means, axis=0) < 4 * error).all(), means


def correlation(frames, direction):
    """Compare each frame with the one before, shifted."""
    dx, dy = DIRECTIONS[direction]
    step = round(moving_shapes.SPEED * SIZE)
    shifted = np.roll(frames[:-1], (step * dy, step * dx), axis=(2, 3))
    return np.minimum(shifted, frames[1:]).sum()


def test_the_order_of_frames_tells_the_class():
    right = []
    for index in range(60):
        name = CLASSES[index % 4]
        frames = frames_of(name, index)
        right.append(name == max(CLASSES, key=lambda guess: correlation(frames, guess)))
    assert np.mean(right) > 0.95


def test_files_hold_the_drawn_events(tmp_path):
    root = generate_moving_shapes(tmp_path / 'set', num_train=6, num_val=4)
    names = sorted(str(path.relative_to(root)) for path in root.rglob('*.npy'))
    assert names[:4] == [f'train/down/{n:06d}.npy' for n in (2, 6)] + [
        'train/left/000003.npy',
        'train/right/000001.npy',
    ]
    events = np.load(root / 'train' / 'down' / '000006.npy')
    assert np.array_equal(events, draw_events(np.random.default_rng([0, 0, 5]), 'down', SIZE))
    assert events.dtype == np.int32 and (np.diff(events[:, 0]) >= 0).all()
    assert events.min() == 0 and set(events[:, 3]) == {0, 1}
    assert events[:, 1:3].max() < SIZE
    manifest = json.loads((root / moving_shapes.MANIFEST).read_text())
    assert manifest['train'] == 6 and manifest['size'] == SIZE


def test_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path):
    first, again, larger, other = (
        files(generate_moving_shapes(tmp_path / name, num_train=count, num_val=2, seed=seed))
        for name, count, seed in [('a', 3, 1), ('b', 3, 1), ('c', 5, 1), ('d', 3, 2)]
    )
    assert first == again
    samples = {path: content for path, content in first.items() if path.suffix == '.npy'}
    assert len(samples) == 5 and samples.items() <= larger.items()
    assert all(other[path] != content for path, content in samples.items())


def test_the_same_dataset_is_reused_and_anything_else_refused(tmp_path, monkeypatch):
    root = generate_moving_shapes(tmp_path / 'set', num_train=1, num_val=1)
    before = files(tmp_path)
    monkeypatch.delattr(moving_shapes, '_write_split')
    generate_moving_shapes(root, num_train=1, num_val=1)
    with pytest.raises(UserError, match="'train': 1.*'train': 2"):
        generate_moving_shapes(root, num_train=2, num_val=1)
    with pytest.raises(UserError, match='holds something other'):
        generate_moving_shapes(tmp_path, num_train=1, num_val=1)
    assert files(tmp_path) == before


@pytest.mark.parametrize('argument', [{'num_train': 0}, {'num_val': -1}, {'size': 8}, {'seed': -1}])
def test_bad_arguments(tmp_path, argument):
    name, value = *argument, *argument.values()
    with pytest.raises(UserError, match=f'{name} is {value}'):
        generate_moving_shapes(tmp_path / 'set', **argument)


def test_nothing_is_left_half(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError('no space left')

    monkeypatch.setattr(moving_shapes.np, 'save', full_disk)
    with pytest.raises(OSError, match='no space'):
        generate_moving_shapes(tmp_path / 'set', num_train=1, num_val=1)
    assert not list(tmp_path.iterdir())
