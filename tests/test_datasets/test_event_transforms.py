"""Events into frames: known bins, one draw for all frames, and what is wrong said in a sentence."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import RandomFlip, Resize
from torch import nn

from mmspike.datasets import BinEvents, FramesToTensor, LoadEvents, LoadFrames
from mmspike.datasets.event_transforms import follow_backbone
from mmspike.errors import UserError

WIDTH, HEIGHT = 5, 4
# (t, x, y, p): two in the first quarter of the time, three in the last.
EVENTS = [(0, 0, 0, 1), (10, 4, 3, 0), (70, 1, 2, 1), (80, 1, 2, 1), (80, 3, 0, 0)]


def load(path):
    results = dict(img_path=str(path), sensor_size=(WIDTH, HEIGHT))
    return LoadEvents().transform(results)


@pytest.fixture
def write(tmp_path):
    def write(events, name='events.npy'):
        np.save(tmp_path / name, np.array(events))
        return tmp_path / name

    return write


def frames_of(events, steps, by):
    results = dict(events=np.array(events, float), sensor_size=(WIDTH, HEIGHT), img_path='some.npy')
    return FramesToTensor().transform(BinEvents(steps, by=by).transform(results))['img']


def places(frames):
    """Give (frame, channel, y, x) of every count, as often as it counts."""
    return sorted(
        tuple(place)
        for place in frames.nonzero().tolist()
        for _ in range(int(frames[tuple(place)]))
    )


def test_bins_by_time():
    frames = frames_of(EVENTS, 4, 'time')
    assert frames.shape == (4, 2, HEIGHT, WIDTH) and frames.dtype == torch.float32
    assert frames[3, 1, 2, 1] == 2
    assert places(frames) == [(0, 0, 3, 4), (0, 1, 0, 0), (3, 0, 0, 3), (3, 1, 2, 1), (3, 1, 2, 1)]


def test_bins_by_count():
    frames = frames_of(EVENTS, 2, 'count')
    assert places(frames) == [(0, 0, 3, 4), (0, 1, 0, 0), (0, 1, 2, 1), (1, 0, 0, 3), (1, 1, 2, 1)]
    assert [frame.sum() for frame in frames_of(EVENTS, 5, 'count')] == [1] * 5


@pytest.mark.parametrize('by', ['count', 'time'])
def test_no_event_is_lost_and_time_goes_forward(by):
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(1000, 2000, 500))
    events = np.stack([time, *(rng.integers(n, size=500) for n in (WIDTH, HEIGHT, 2))], axis=1)
    frames = frames_of(events, 7, by)
    assert frames.sum() == 500
    assert torch.equal(frames.sum(0), frames_of(events, 1, by)[0])
    # The same later, and in another unit.
    moved = events * [1000, 1, 1, 1] + [10**12, 0, 0, 0]
    assert torch.equal(frames_of(moved, 7, by), frames)


def test_time_stamps_without_resolution():
    """Epoch microseconds as float32 lie minutes apart: all events would be in one frame."""
    start = 1.7e15
    exact = [(start + 10 * i, i % WIDTH, 0, 1) for i in range(100)]
    assert [frame.sum() for frame in frames_of(exact, 4, 'time')] == [25] * 4
    for time in (np.array(exact)[:, 0].astype(np.float32), np.zeros(100)):
        events = np.array(exact)
        events[:, 0] = time
        with pytest.raises(UserError, match="100 events .* 1 different time .* 4 .*by='count'"):
            frames_of(events, 4, 'time')
        assert [frame.sum() for frame in frames_of(events, 4, 'count')] == [25] * 4
        assert frames_of(events, 1, 'time').sum() == 100
    assert [frame.sum() for frame in frames_of(exact[:1], 4, 'time')] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    'names',
    [
        ('t', 'x', 'y', 'p'),
        ('ts', 'x', 'y', 'polarity'),
        ('timestamp', 'x_pos', 'y_pos', 'pol'),
        ('Time [us]', 'X', 'Y', 'Polarity'),
        ('events/t', 'events/x', 'events/y', 'events/p'),
    ],
)
def test_names_of_columns(tmp_path, names):
    """In any order, with others between them, as fields, arrays, a heading or a comment."""
    array = np.array(EVENTS)
    fields = dict(zip(names, array.T, strict=True))
    mixed = [names[3], names[0], 'frame', names[2], names[1]]
    table = np.stack([fields.get(name, np.arange(5)) for name in mixed], axis=1)
    np.savez(tmp_path / 'arrays.npz', **fields)
    kinds = [(name, bool if name == names[3] else np.int64) for name in mixed]
    np.save(tmp_path / 'record.npy', np.array([tuple(row) for row in table], kinds))
    for mark in ('', '# '):
        rows = [','.join(map(str, row)) for row in table]
        text = '\n'.join([mark + ','.join(mixed), *rows])
        (tmp_path / f'table{len(mark)}.csv').write_text(text)
    if ' ' not in names[0]:
        text = text.replace(',', ' ').replace('# ', '')
        (tmp_path / 'blanks.txt').write_text('% made by hand\n640 480\n' + text)
    for file in sorted(tmp_path.iterdir()):
        assert np.array_equal(load(file)['events'], array), file


def test_truth_values_and_negative_times(tmp_path, write):
    words = '\n'.join(f'{t} {x} {y} {bool(p)}' for t, x, y, p in EVENTS)
    (tmp_path / 'words.txt').write_text(words)
    assert np.array_equal(load(tmp_path / 'words.txt')['events'], EVENTS)
    negative = np.array(EVENTS) - [100, 0, 0, 0]
    assert np.array_equal(load(write(negative))['events'], negative)


@pytest.mark.parametrize('bits, first', [(32, 0), (31, -(2**31))])
def test_a_clock_that_went_over_its_end(write, bits, first):
    """Sorted by time, the end of the recording would come before its beginning."""
    events = np.array(EVENTS)
    events[:, 0] += 2**bits - 40
    events[events[:, 0] >= 2**bits, 0] += first - 2**bits
    with pytest.raises(UserError, match='Event 2 of .* earlier .* overflow of its clock'):
        load(write(events))


def test_all_file_formats_read_alike(tmp_path, write):
    array = np.array(EVENTS)
    fields = dict(zip('txyp', array.T, strict=True))
    record = np.zeros(len(array), [('x', 'u2'), ('y', 'u2'), ('t', 'i8'), ('p', 'i1')])
    for name, values in fields.items():
        record[name] = values
    lines = '\n'.join(' '.join(map(str, event)) for event in EVENTS)
    np.savez(tmp_path / 'fields.npz', **fields)
    np.savez(tmp_path / 'one.npz', events=array)
    np.save(tmp_path / 'record.npy', record)
    (tmp_path / 'aedat.txt').write_text(f'#!AER-DAT2.0\r\n# t x y p\n{lines}\n')
    (tmp_path / 'comma.csv').write_text(lines.replace(' ', ', '))
    write(array * [1, 1, 1, 2] - [0, 0, 0, 1], 'signed.npy')  # Polarities -1 and 1.
    files = ('fields.npz', 'one.npz', 'record.npy', 'aedat.txt', 'comma.csv', 'signed.npy')
    for file in files:
        assert np.array_equal(load(tmp_path / file)['events'], array), file


@pytest.mark.parametrize(
    ('event', 'message'),
    [
        ((90, 5, 0, 1), r'Event 5 of .* x=5, y=0, which is no pixel of a sensor of 5x4'),
        ((90, 0, -1, 1), 'x=0, y=-1, which is no pixel'),
        ((90, 1.5, 0, 1), 'x=1.5, y=0, which is no pixel'),
        ((90, 0, 0, 3), r'the polarity 3, but it must be 0 or -1'),
        ((79, 0, 0, 1), r'Event 5 of .* stamp 79, which is earlier .* sort the file'),
        ((float('nan'), 0, 0, 1), 'no finite number'),
    ],
)
def test_a_wrong_event_is_named(write, event, message):
    with pytest.raises(UserError, match=message) as error:
        load(write([*EVENTS, event]))
    assert len(str(error.value).splitlines()) == 1


def test_an_empty_sample(tmp_path, write):
    with pytest.raises(UserError, match='holds no event'):
        load(write(np.zeros((0, 4))))
    (tmp_path / 'comments.txt').write_text('# t x y p\n')
    with pytest.raises(UserError, match='holds no event'):
        load(tmp_path / 'comments.txt')
    (tmp_path / 'nothing.txt').write_text('')
    with pytest.raises(UserError, match='0 bytes'):
        load(tmp_path / 'nothing.txt')
    with pytest.raises(UserError, match='cannot be opened'):
        load(tmp_path / 'absent.npy')


def test_files_of_something_else(tmp_path, write):
    (tmp_path / 'words.txt').write_text('0 1 2 on\n')
    (tmp_path / 'broken.npz').write_bytes(b'PK\x03\x04nothing')
    np.savez(tmp_path / 'two.npz', a=np.zeros((2, 4)), b=np.zeros((2, 4)))
    np.save(tmp_path / 'objects.npy', np.array([{}]), allow_pickle=True)
    write(np.zeros((3, 5)), 'five.npy')
    for name in ('words.txt', 'broken.npz', 'two.npz', 'objects.npy', 'five.npy'):
        with pytest.raises(UserError, match=f'{name}.* cannot be read as events'):
            load(tmp_path / name)


def test_fewer_events_than_frames():
    with pytest.raises(UserError, match="holds 5 events, fewer than the 6 .*by='time'"):
        frames_of(EVENTS, 6, 'count')
    assert frames_of(EVENTS, 6, 'time').sum() == 5


@pytest.fixture
def folder(tmp_path):
    """Frames 1.png to 12.png of 6x4, each a gradient whose blue is its number."""
    gradient = np.mgrid[:4, :6].sum(0).astype(np.uint8) * 10
    for number in range(1, 13):
        frame = np.stack([np.full_like(gradient, number), gradient, gradient[:, ::-1]], axis=2)
        cv2.imwrite(str(tmp_path / f'{number}.png'), frame)
    (tmp_path / 'notes.txt').write_text('not a frame')
    return tmp_path


def load_frames(folder, steps, **options):
    return LoadFrames(steps, **options).transform(dict(img_path=str(folder)))


@pytest.mark.parametrize(
    ('steps', 'numbers'), [(12, range(1, 13)), (4, (2, 5, 8, 11)), (3, (3, 7, 11)), (1, (7,))]
)
def test_frames_are_evenly_chosen_in_the_order_of_their_numbers(folder, steps, numbers):
    frames = FramesToTensor().transform(load_frames(folder, steps))['img']
    assert frames.shape == (steps, 3, 4, 6) and frames.dtype == torch.uint8
    assert [int(frame[0].unique()) for frame in frames] == list(numbers)


def test_frames_of_other_suffixes_are_frames_too(folder):
    for number in range(2, 13, 2):
        frame = cv2.imread(str(folder / f'{number}.png'))
        (folder / f'{number}.png').unlink()
        cv2.imwrite(str(folder / f'{number}.TIFF'), frame)
    frames = FramesToTensor().transform(load_frames(folder, 12))['img']
    assert [int(frame[0].unique()) for frame in frames] == list(range(1, 13))


def test_the_order_of_colours(folder):
    bgr, rgb = (
        FramesToTensor().transform(load_frames(folder, 2, to_rgb=to_rgb))['img']
        for to_rgb in (False, True)
    )
    assert torch.equal(bgr.flip(1), rgb)
    grey = FramesToTensor().transform(load_frames(folder, 2, color_type='grayscale'))['img']
    assert grey.shape == (2, 1, 4, 6)


def test_a_stock_transform_treats_all_frames_alike(folder):
    """What happens to the stack is what happens to each frame alone."""
    for transform in (RandomFlip(prob=1.0), Resize(scale=(9, 5))):
        whole = FramesToTensor().transform(transform(load_frames(folder, 3)))['img']
        for frame, number in zip(whole, (3, 7, 11), strict=True):
            picture = cv2.imread(str(folder / f'{number}.png'))
            alone = np.ascontiguousarray(transform(dict(img=picture))['img'])
            assert torch.equal(frame, torch.from_numpy(alone).permute(2, 0, 1))


def test_a_random_crop_is_drawn_once(folder):
    processing = pytest.importorskip('mmpretrain.datasets.transforms')
    crop = processing.RandomResizedCrop(scale=4, crop_ratio_range=(0.2, 0.9))
    seen = set()
    for _ in range(5):
        frames = FramesToTensor().transform(crop(load_frames(folder, 2)))['img']
        assert torch.equal(frames[0, 1:], frames[1, 1:])  # Green and red are equal in all frames.
        seen.add(frames[0, 1].numpy().tobytes())
    assert len(seen) > 1


def test_bad_folders(folder):
    with pytest.raises(UserError, match='holds 12 frames, fewer than the 13 of time_steps'):
        load_frames(folder, 13)
    cv2.imwrite(str(folder / '7.png'), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(UserError, match=r"7.png' is 5x4 pixels, but '.*3.png' is 6x4"):
        load_frames(folder, 3)
    (folder / '7.png').write_bytes(b'')
    with pytest.raises(UserError, match=r"7.png' is empty \(0 bytes\)"):
        load_frames(folder, 3)
    (folder / 'none').mkdir()
    with pytest.raises(UserError, match="none' holds no frame"):
        load_frames(folder / 'none', 3)
    with pytest.raises(UserError, match="absent' cannot be opened"):
        load_frames(folder / 'absent', 3)


def a_model(time_steps, **preprocessor):
    model = nn.Module()
    model.backbone, model.data_preprocessor = nn.Module(), nn.Module()
    model.backbone.time_steps = time_steps
    for name, value in preprocessor.items():
        setattr(model.data_preprocessor, name, value)
    return model


def test_frames_follow_the_backbone():
    transforms = [LoadEvents(), BinEvents(), LoadFrames(time_steps=8), FramesToTensor()]
    follow_backbone(transforms, a_model(8))
    assert [transforms[i].time_steps for i in (1, 2)] == [8, 8]
    with pytest.raises(UserError, match='mmspike.BinEvents has time_steps=8.*time_steps is 4;'):
        follow_backbone(transforms, a_model(4))
    with pytest.raises(UserError, match='time_steps of mmspike.LoadFrames was never set'):
        LoadFrames().transform(dict(img_path='somewhere'))
    for wrong in (dict(to_rgb=True), dict(pad_size_divisor=32)):
        with pytest.raises(UserError, match='with sequences of frames it must be False and 1'):
            follow_backbone(transforms, a_model(8, **wrong))
        follow_backbone([LoadEvents()], a_model(8, **wrong))  # Of still images it may be so.


@pytest.mark.parametrize('options', [dict(time_steps=0), dict(time_steps='8'), dict(by='size')])
def test_bad_arguments(options):
    with pytest.raises(UserError, match=f'{next(iter(options))}.* must be'):
        BinEvents(**options)
