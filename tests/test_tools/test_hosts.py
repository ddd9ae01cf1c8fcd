"""The same two tools train, test, draw and dump for mmdet, mmseg and mmpretrain."""

import pickle
from pathlib import Path

import cli
import cv2
import numpy as np
import pytest

from mmspike.commands.infer import infer
from mmspike.datasets.shapes import CLASSES, draw_scene

from .conftest import CONFIG, arguments

COMMON = """
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
load = dict(type='mmspike.LoadImageFromFile')
def loader(split, pipeline):
    return dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type=kind, data_root=data_root, pipeline=pipeline, **prefix(split)))
train_dataloader = loader('train', [load, *train_steps])
val_dataloader = test_dataloader = loader('val', [load, *test_steps])
val_evaluator = test_evaluator = metric
del loader, prefix
"""
SEGMENTATION = """
default_scope = 'mmseg'
data_root = 'data/maps/'
kind = 'BaseSegDataset'
def prefix(split):
    return dict(data_prefix=dict(img_path=split, seg_map_path=split + '_maps'),
                img_suffix='.png', metainfo=dict(classes=('none', 'some'), palette=[[0] * 3] * 2))
train_steps = test_steps = [dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
metric = dict(type='IoUMetric')
norm_cfg = dict(type='BN')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(type='FCNHead', in_channels=32, channels=4, num_convs=1, num_classes=2,
                     norm_cfg=norm_cfg, loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
"""
CLASSIFICATION = """
default_scope = 'mmpretrain'
data_root = 'data/folders/'
kind = 'CustomDataset'
def prefix(split):
    return dict(data_prefix=split)
train_steps = test_steps = [dict(type='PackInputs')]
metric = dict(type='Accuracy', topk=1)
model = dict(
    type='ImageClassifier', data_preprocessor=dict(num_classes=3),
    backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32))
"""


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Label maps for mmseg, and a folder per class for mmpretrain, of 32x32 pixels."""
    root = tmp_path_factory.mktemp('pictures')
    for split in ('train', 'val'):
        for index in range(4):
            image, instances = draw_scene(np.random.default_rng(index), 32)
            label = np.zeros((32, 32), np.uint8)
            for _, mask in instances:
                label[mask] = 1
            name = f'{index}.png'
            write(root / 'maps' / split / name, image)
            write(root / 'maps' / f'{split}_maps' / name, label)
            write(root / 'folders' / split / CLASSES[index % 3] / name, image)
    return root


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def run_both(config, data_root, tmp_path, out, *flags):
    """Train one epoch, test its checkpoint, and return the metrics."""
    cli.train(arguments(data_root, tmp_path / 'work', config=config))
    argv = [str(config), str(tmp_path / 'work' / 'epoch_1.pth')]
    flags = ['--out', str(out), *flags]
    return cli.test([*argv, *arguments(data_root, tmp_path / 'work', flags=flags)])


def drawn(folder):
    return [path.name for path in folder.rglob('*.png')]


def write_config(path, text):
    path.write_text(text + COMMON)
    return path


def test_detection(shapes, tmp_path):
    flags = ['--show-dir', str(tmp_path / 'shown')]
    metrics = run_both(CONFIG, shapes, tmp_path, tmp_path / 'out.pkl', *flags)
    assert 'coco/segm_mAP' in metrics and len(drawn(tmp_path / 'shown')) == 5
    dumped = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert [sample['img_id'] for sample in dumped] == [1, 2, 3, 4, 5]


def test_segmentation(pictures, tmp_path):
    pytest.importorskip('mmseg', reason='trains an mmseg model')
    config = write_config(tmp_path / 'seg.py', SEGMENTATION)
    flags = ['--show-dir', str(tmp_path / 'shown')]
    metrics = run_both(config, pictures / 'maps', tmp_path, tmp_path / 'out', *flags)
    assert 'mIoU' in metrics and len(drawn(tmp_path / 'shown')) == 4
    label = cv2.imread(str(tmp_path / 'out' / '3.png'), cv2.IMREAD_UNCHANGED)
    assert label.shape == (32, 32) and label.max() <= 1


@pytest.mark.parametrize('reduced', [False, True])
def test_label_maps_of_test_and_of_infer_are_those_of_the_files(pictures, tmp_path, reduced):
    pytest.importorskip('mmseg', reason='trains an mmseg model')
    told = f"img_suffix='.png', reduce_zero_label={reduced}"
    text = SEGMENTATION.replace("img_suffix='.png'", told)
    config = write_config(tmp_path / 'seg.py', text)
    run_both(config, pictures / 'maps', tmp_path, tmp_path / 'out')
    weights = str(tmp_path / 'work' / 'epoch_1.pth')
    folder = pictures / 'maps' / 'val'
    found = infer([str(config), weights, str(folder), '--out-dir', str(tmp_path / 'found')])
    for entry in found['predictions']:
        files = tmp_path / 'found' / entry['label_map'], tmp_path / 'out' / Path(entry['file']).name
        one, other = (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files)
        assert np.array_equal(one, other)
        assert set(np.unique(one)) <= {int(reduced), int(reduced) + 1}
        assert [c['id'] for c in entry['classes']] == np.unique(one).tolist()


def test_pictures_of_one_name_in_several_folders(pictures, tmp_path):
    pytest.importorskip('mmpretrain', reason='trains an mmpretrain model')
    names = [f'{name}/0.png' for name in CLASSES] + [f'{CLASSES[0]}/1.png']
    for name in names:
        for split in ('train', 'val'):
            source = next((pictures / 'folders' / split).rglob('*.png'))
            write(tmp_path / 'data' / split / name, cv2.imread(str(source)))
    config = write_config(tmp_path / 'cls.py', CLASSIFICATION)
    flags = ['--show-dir', str(tmp_path / 'shown')]
    run_both(config, tmp_path / 'data', tmp_path, tmp_path / 'out.pkl', *flags)
    shown = tmp_path / 'shown'
    assert {f.relative_to(shown).as_posix() for f in shown.rglob('*.png')} == set(names)


@pytest.mark.parametrize('option', ['--show-dir', '--tta'])
def test_classification(pictures, tmp_path, option):
    pytest.importorskip('mmpretrain', reason='trains an mmpretrain model')
    config = write_config(tmp_path / 'cls.py', CLASSIFICATION)
    flags = [option, str(tmp_path / 'shown')] if option == '--show-dir' else [option]
    metrics = run_both(config, pictures / 'folders', tmp_path, tmp_path / 'out.pkl', *flags)
    assert 'accuracy/top1' in metrics
    assert len(drawn(tmp_path / 'shown')) == (4 if option == '--show-dir' else 0)
    assert len(pickle.loads((tmp_path / 'out.pkl').read_bytes())) == 4


def test_resume_goes_on_where_training_stopped(shapes, trained, tmp_path):
    flags = ['--resume', str(trained), '--auto-scale-lr']
    options = ['train_cfg.max_epochs=2', 'auto_scale_lr.base_batch_size=4']
    runner = cli.train(arguments(shapes, tmp_path, *options, config=CONFIG, flags=flags))
    assert (runner.epoch, runner.iter) == (2, 6)
    again = cli.train(
        arguments(shapes, tmp_path, 'train_cfg.max_epochs=3', config=CONFIG, flags=['--resume'])
    )
    assert (again.epoch, again.iter) == (3, 9)
