"""Lists, class folders and HAR-DVS, and the way of a sequence to the classifier."""

from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmspike.datasets import generate_moving_shapes
from mmspike.datasets.event_transforms import follow_backbone
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

pytest.importorskip('mmpretrain', reason='the datasets are ones of mmpretrain')
from mmspike.datasets.events import EventDataset  # noqa: E402
from mmspike.datasets.hardvs import HARDVS  # noqa: E402

CONFIGS = Path(__file__).parents[2] / 'configs'
T, B, SIZE = 4, 2, 32
TINY = dict(dims=(8, 8, 8, 16, 16), depths=(1,) * 5, heads=2)


def record(path, seed=0):
    """Write 300 events in the order of time."""
    rng = np.random.default_rng(seed)
    events = [
        np.sort(rng.integers(10_000, size=300)),
        *rng.integers((SIZE, SIZE, 2), size=(300, 3)).T,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack(events, axis=1))


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(('up/1', 'up/more/3', 'down/1', 'down/2')):
        record(tmp_path / f'{name}.npy', seed)
    (tmp_path / 'up' / 'notes.md').write_text('no event')
    return tmp_path


def samples(dataset, root):
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [(info['img_path'].removeprefix(f'{root}/'), info['gt_label']) for info in infos]


def test_class_folders(folders):
    options = dict(sensor_size=(SIZE, SIZE), data_root=str(folders), data_prefix='')
    dataset = EventDataset(**options)
    assert dataset.metainfo['classes'] == ('down', 'up')
    files = [('down/1.npy', 0), ('down/2.npy', 0), ('up/1.npy', 1), ('up/more/3.npy', 1)]
    assert samples(dataset, folders) == files
    # The class list gives the order.
    dataset = EventDataset(**options, metainfo=dict(classes=('up', 'down')))
    assert [label for _, label in samples(dataset, folders)] == [0, 0, 1, 1]
    assert samples(dataset, folders)[0] == ('up/1.npy', 0)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('up', 'left', 'down'), "'left' is a class without a folder"),
        (('up',), "'down' is a folder but no class"),
    ],
)
def test_classes_that_do_not_match_the_folders(folders, classes, message):
    with pytest.raises(UserError, match=message):
        EventDataset((SIZE, SIZE), data_root=str(folders), metainfo=dict(classes=classes))


def test_relative_folders(folders, monkeypatch):
    monkeypatch.chdir(folders.parent)
    dataset = EventDataset((SIZE, SIZE), data_root=folders.name)
    assert samples(dataset, folders.name)[0] == ('down/1.npy', 0)


def test_bad_places(tmp_path):
    with pytest.raises(UserError, match="absent' is no folder"):
        EventDataset((SIZE, SIZE), data_root=str(tmp_path / 'absent'))
    with pytest.raises(UserError, match="list 'absent.txt' cannot be read"):
        EventDataset((SIZE, SIZE), ann_file='absent.txt')
    for size in ((32,), (32, 0), (32.0, 32)):
        with pytest.raises(UserError, match='sensor_size is'):
            EventDataset(size, data_root=str(tmp_path))


@pytest.mark.parametrize(
    'line',
    [
        'a b/c 1',
        'a b/c 250 1',
        'a b/c,1',
        'a b/c, 250, 1',
        'a b/c\t1',
        'a b\\c 1 ',
        '\ufeffa b/c 1',
    ],
)
def test_separators_of_lists(tmp_path, line):
    (tmp_path / 'list.txt').write_text(f'{line}\r\n\n# a comment\nd/e 0\n', encoding='utf-8')
    dataset = EventDataset((SIZE, SIZE), data_root=str(tmp_path), ann_file='list.txt')
    assert samples(dataset, tmp_path) == [('a b/c', 1), ('d/e', 0)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('action_001/x 300', 'Line 2 of .* class id 300, .* 300 classes go from 0 to 299'),
        ('action_001/x', "Line 2 of .* is 'action_001/x', but the path"),
        ('action_001/x -1', 'but the path of a sample and its class id'),
        ('action_002/x 0', None),
        ('action_001/x 1', "folder 'action_001' the class ids 0 and 1"),
    ],
)
def test_bad_lists_of_hardvs(tmp_path, line, message):
    (tmp_path / 'list.txt').write_text(f'action_001/a 0\n{line}\n')
    if message is None:
        assert len(HARDVS(str(tmp_path / 'list.txt'))) == 2
    else:
        with pytest.raises(UserError, match=message):
            HARDVS(str(tmp_path / 'list.txt'))


def test_hardvs_layout(tmp_path):
    (tmp_path / 'train_label.txt').write_text('action_001/dvSave-1 9 0\naction_300/dvSave-2 9 299')
    options = dict(
        data_root=str(tmp_path), ann_file='train_label.txt', data_prefix=dict(img_path='rawframes/')
    )
    root = tmp_path / 'rawframes'
    dataset = HARDVS(**options)
    assert samples(dataset, root) == [('action_001/dvSave-1', 0), ('action_300/dvSave-2', 299)]
    assert len(dataset.metainfo['classes']) == 300
    dataset = HARDVS(**options, frames_folder='{name}_dvs')
    assert samples(dataset, root)[0][0] == 'action_001/dvSave-1/dvSave-1_dvs'


@pytest.fixture
def model():
    config = dict(
        type='mmspike.SpikeImageClassifier',
        data_preprocessor=dict(mean=[10.0] * 3, std=[50.0] * 3),
        backbone=dict(
            type='mmspike.MetaSpikeFormer',
            arch=TINY,
            time_steps=T,
            out_indices=(4,),
            neuron=dict(type='mmspike.LIF', v_threshold=0.5),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='mmspike.SpikeLinearClsHead',
            in_channels=16,
            num_classes=3,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config)
    for name, value in model.named_parameters():  # Lively enough for spikes to reach the end.
        if name.endswith('.weight') and value.dim() == 1:
            torch.nn.init.constant_(value, 2.0)
    return model.train()


def write_frames(folder, frames):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / f'{number:08d}.png'), frame)


@pytest.fixture
def batch(tmp_path):
    """Give the batch of sequences that the whole pipeline makes of frames."""

    def batch(*sequences):
        lines = [f'action_{i + 1:03d}/s {i}' for i in range(len(sequences))]
        (tmp_path / 'list.txt').write_text('\n'.join(lines))
        for i, frames in enumerate(sequences):
            write_frames(tmp_path / f'action_{i + 1:03d}' / 's', frames)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            pipeline = [
                dict(type='mmspike.LoadFrames', time_steps=T),
                dict(type='Resize', scale=(SIZE, SIZE)),
                dict(type='mmspike.FramesToTensor'),
                dict(type='PackInputs'),
            ]
            options = dict(data_root=str(tmp_path), ann_file='list.txt', pipeline=pipeline)
            dataset = DATASETS.build(dict(type='mmspike.HARDVS', **options))
        return pseudo_collate([dataset[i] for i in range(len(dataset))])

    return batch


def random_frames(seed, count=T):
    return np.random.default_rng(seed).integers(256, size=(count, 26, 34, 3), dtype=np.uint8)


def test_a_batch_is_a_normalized_sequence(model, batch):
    data = batch(random_frames(0), random_frames(1))
    inputs = model.data_preprocessor(data)['inputs']
    assert inputs.shape == (B, T, 3, SIZE, SIZE)
    raw = torch.stack(data['inputs'])
    torch.testing.assert_close(inputs, (raw.float() - 10) / 50)
    losses = model.train_step(data, _Wrapper())
    assert torch.isfinite(losses['loss'])


class _Wrapper:
    """An optimizer that only computes gradients."""

    def optim_context(self, model):
        return nullcontext()

    def update_params(self, loss):
        loss.backward()


def test_the_order_of_frames_matters(model, batch, tmp_path):
    frames = random_frames(0)
    inputs = model.data_preprocessor(batch(frames, frames[::-1]))['inputs']
    torch.testing.assert_close(inputs[1], inputs[0].flip(0))
    forward, backward = model.extract_feat(inputs)[-1].unflatten(0, (T, B)).mean(0)
    assert not torch.allclose(forward, backward, rtol=1e-2)
    logits = model(inputs)
    assert not torch.allclose(logits[0], logits[1])


def test_a_constant_sequence_equals_the_still_image(model, batch):
    first, second = (random_frames(seed, count=1) for seed in (0, 1))
    data = batch(first.repeat(T, axis=0), second.repeat(T, axis=0))
    still = dict(data, inputs=[frames[0] for frames in data['inputs']])
    sequence, image = (model.data_preprocessor(d)['inputs'] for d in (data, still))
    assert sequence.dim() == 5 and image.dim() == 4
    torch.testing.assert_close(model(sequence), model(image))


def test_another_length_is_one_sentence(batch):
    backbone = MetaSpikeFormer(arch=TINY, time_steps=T + 1)
    inputs = torch.stack(batch(random_frames(0))['inputs']).float()
    with pytest.raises(
        UserError, match='sequence of 4 frames, but time_steps of the backbone is 5'
    ):
        backbone(inputs)


@pytest.mark.parametrize('name', ['t8_moving_shapes', 't1_moving_shapes'])
def test_events_reach_the_shipped_classifier(tmp_path, name):
    config = Config.fromfile(CONFIGS / f'metaspike-tiny_{name}.py')
    generate_moving_shapes(tmp_path / 'set', num_train=4, num_val=4)
    config.val_dataloader.dataset.data_root = str(tmp_path / 'set')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, dataset = MODELS.build(config.model), DATASETS.build(config.val_dataloader.dataset)
    follow_backbone(dataset.pipeline.transforms, model)
    data = pseudo_collate([dataset[0], dataset[3]])
    inputs = model.data_preprocessor(data)['inputs']
    assert inputs.shape == (B, int(name[1]), 2, 32, 32)
    assert model.eval()(inputs).shape == (B, 4)


@pytest.mark.slow
def test_the_tools_train_on_events_and_demand_one_number_of_time_steps(tmp_path):
    import cli

    root = generate_moving_shapes(tmp_path / 'moving', num_train=8, num_val=4)
    options = [f'data_root={root}', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=4']
    options += ['train_cfg.val_interval=9']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    config = str(CONFIGS / 'metaspike-tiny_t8_moving_shapes.py')
    argv = [config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
    runner = cli.train(argv)
    assert runner.iter == 2
    assert runner.train_dataloader.dataset[0]['inputs'].shape[0] == 8
    with pytest.raises(UserError, match='BinEvents has time_steps=4, but model.backbone'):
        cli.train([*argv, 'train_dataloader.dataset.pipeline.1.time_steps=4'])
