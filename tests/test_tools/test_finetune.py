"""Finetuning by one option, ``pretrained=FILE``, from a stand-in of the released 15M."""

from pathlib import Path

import cli
import pytest
import torch
from doc_commands import write_shapes_as
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from released import released_checkpoint

from mmspike.hosts.inferencers import HostModel
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.models.backbones.meta_spikeformer_released import RELEASED

from .conftest import ROOT, arguments
from .test_bad_input import refusal

CONFIGS = ROOT / 'configs'
TINY = CONFIGS / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
ABSENT = 'pretrained=absent.pth'
# One iteration of two pictures, and nothing written.
SHORT = [
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_cfg.val_begin=999',
    'default_hooks.checkpoint.interval=999',
    'default_hooks.checkpoint.save_last=False',
]
ONE_EPOCH = [*SHORT, 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=2']
MAPS = """
_base_ = '{base}'
data_root = 'data/shapes/'
metainfo = dict(classes=('background', 'circle', 'rectangle', 'triangle'), palette=[[0] * 3] * 4)
data = dict(type='BaseSegDataset', data_root=data_root, metainfo=metainfo, img_suffix='.png')
pipeline = [
    dict(type='mmspike.LoadImageFromFile'),
    dict(type='mmspike.LoadSegAnnotations'),
    dict(type='PackSegInputs'),
]
model = dict(data_preprocessor=dict(size=(64, 64)), decode_head=dict(num_classes=4))
train_dataloader = dict(dataset=dict(
    data_prefix=dict(img_path='train', seg_map_path='masks/train'), pipeline=pipeline, **data))
val_dataloader = dict(dataset=dict(
    data_prefix=dict(img_path='val', seg_map_path='masks/val'), pipeline=pipeline, **data))
test_dataloader = val_dataloader
"""


@pytest.fixture(scope='module')
def released():
    content = released_checkpoint('15m')
    content['model'] = {
        name: value.float() if value.is_floating_point() else value
        for name, value in content['model'].items()
    }
    return content


@pytest.fixture
def first_features(monkeypatch):
    """The input and the outputs of the backbone's first forward."""
    seen = []
    forward = MetaSpikeFormer.forward

    def record(self, x):
        outs = forward(self, x)
        seen.append((x.clone(), [out.detach().clone() for out in outs]))
        return outs

    monkeypatch.setattr(MetaSpikeFormer, 'forward', record)
    return seen


def mask_rcnn(shapes, tmp_path):
    """The shipped config, on data of COCO's layout and classes."""
    pytest.importorskip('mmdet', reason='its library')
    names = DATASETS.get('mmdet.CocoDataset').METAINFO['classes']
    write_shapes_as(tmp_path / 'coco', shapes, names, dict(train='train2017', val='val2017'))
    size = 'train_dataloader.dataset.pipeline.2.scale=(64,64)'
    return CONFIGS / 'mask_rcnn_metaspike_coco.py', tmp_path / 'coco', [*ONE_EPOCH, size]


def semantic_fpn(shapes, tmp_path):
    """A user's own config, whose base is the shipped one, with other classes."""
    pytest.importorskip('mmseg', reason='its library')
    config = tmp_path / 'mine.py'
    config.write_text(MAPS.format(base=CONFIGS / 'semantic_fpn_metaspike_ade20k.py'))
    return config, shapes, [*SHORT, 'train_cfg.max_iters=1']


@pytest.mark.parametrize('model', [mask_rcnn, semantic_fpn])
def test_the_first_features_are_those_of_the_released_file(
    shapes, released, first_features, tmp_path, model
):
    file = tmp_path / 'released.pth'
    torch.save(released, file)
    config, data_root, options = model(shapes, tmp_path)
    options = [f'pretrained={file}', *options]
    runner = cli.train(arguments(data_root, tmp_path / 'work', *options, config=config))
    x, outs = first_features[0]
    assert len(outs) == 4 and runner.iter == 1
    reference = MODELS.build({**runner.cfg.model.backbone, 'pretrained': None})
    weights = RELEASED.convert_state_dict(released['model'])
    prefix = 'backbone.'
    own = {name[len(prefix) :]: v for name, v in weights.items() if name.startswith(prefix)}
    reference.load_state_dict(own, strict=True)
    with torch.no_grad():
        for out, expected in zip(outs, reference.train()(x), strict=True):
            assert out.std() > 0.1
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def test_without_the_file_training_is_refused_before_it_begins(shapes, tmp_path):
    for name, config, way in (
        ('absent.pth', TINY, 'a classifier of this backbone'),
        ('checkpoints/metaspike-15m_t1_in1k.pth', mask_rcnn, 'configs/metaspike-15m_t1_in1k.py'),
    ):
        data_root, options = shapes, [ABSENT]
        if config is mask_rcnn:
            config, data_root, options = mask_rcnn(shapes, tmp_path)
        argv = arguments(data_root, tmp_path / 'work', *options, config=config)
        sentence = refusal(cli.train, *argv)
        assert f"pretrained='{name}', which is not there: train {way} and" in sentence
        assert sentence.endswith('or start from scratch with pretrained=None.')


def test_another_size_is_refused(shapes, released, tmp_path):
    file = tmp_path / 'released.pth'
    torch.save(released, file)
    argv = arguments(shapes, tmp_path / 'work', f'pretrained={file}', config=TINY)
    sentence = refusal(cli.train, *argv)
    assert f"'{file}' is of another size than this backbone: downsamplings.0.conv." in sentence


def test_a_run_that_goes_on_needs_no_file(shapes, tmp_path):
    """Neither one that resumes nor one that starts from load_from, as the configs of T = 4 do."""
    one = [o for o in ONE_EPOCH if 'checkpoint' not in o]
    first = cli.train(arguments(shapes, tmp_path / 'work', *one, config=TINY))
    file = Path(first.work_dir) / 'epoch_1.pth'
    two = [*one, 'train_cfg.max_epochs=2', ABSENT]
    resumed = cli.train(arguments(shapes, tmp_path / 'work', *two, config=TINY, flags=['--resume']))
    assert resumed.epoch == 2
    lr = ['optim_wrapper.optimizer.lr=0.0', 'param_scheduler=[]', f'load_from={file}']
    started = cli.train(arguments(shapes, tmp_path / 't4', *ONE_EPOCH, *lr, ABSENT, config=TINY))
    assert started.cfg.pretrained == started.cfg.model.backbone.pretrained == 'absent.pth'
    own, trained = (dict(r.model.named_parameters()) for r in (started, first))
    assert all(torch.equal(own[name], trained[name]) for name in own)


def test_a_variable_that_the_backbone_does_not_start_from_is_refused(shapes, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = '{TINY}'\npretrained = 'mine.pth'")
    sentence = refusal(cli.train, *arguments(shapes, tmp_path / 'work', config=config))
    assert "pretrained of the config is 'mine.pth', but its backbone starts from None" in sentence


def test_only_training_demands_the_file(tmp_path):
    """A model that is shown without a checkpoint starts from the file if it is there."""
    pytest.importorskip('mmdet', reason='its library')
    config = Config.fromfile(TINY)
    torch.manual_seed(1)
    source = MODELS.build(config.model.backbone)
    path = tmp_path / 'classifier.pth'
    host = HostModel(TINY, None, 'cpu', {'pretrained': str(path)})
    assert host.model.backbone.pretrained is None
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in source.state_dict().items()}}, path)
    host = HostModel(TINY, None, 'cpu', {'pretrained': str(path)})
    # As the libraries' own train.py does.
    config.model.backbone.pretrained = str(path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        stock = MODELS.build(config.model)
    stock.init_weights()
    for model in (host.model, stock):
        own = model.backbone.state_dict()
        assert all(torch.equal(own[name], value) for name, value in source.state_dict().items())
