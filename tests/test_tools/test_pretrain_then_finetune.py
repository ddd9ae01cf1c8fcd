"""Pretrain a classifier with the tool, then start detection and segmentation from its backbone."""

import json

import cli
import pytest
import torch

from mmspike.datasets.shape_crops import cut_shapes
from mmspike.engine import load_checkpoint_file
from mmspike.errors import UserError

from .conftest import ROOT, arguments

CONFIGS = ROOT / 'configs'


@pytest.fixture(scope='module')
def pretrained(shapes, tmp_path_factory):
    """The checkpoint of a classifier of a few crops."""
    pytest.importorskip('mmpretrain', reason='classifiers are models of mmpretrain')
    cut_shapes(shapes)
    work_dir = tmp_path_factory.mktemp('pretrained')
    options = ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=0']
    options += ['train_dataloader.persistent_workers=False', 'train_cfg.val_begin=9']
    config = CONFIGS / 'metaspike-tiny_t1_shapes.py'
    cli.train(arguments(shapes, work_dir, *options, config=config))
    return work_dir / 'epoch_1.pth'


@pytest.mark.parametrize(
    ('name', 'start'),
    [
        ('mask_rcnn', ['pretrained={}']),
        (
            'semantic_fpn',
            [
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.prefix=backbone.',
                'model.backbone.init_cfg.checkpoint={}',
            ],
        ),
    ],
)
def test_the_backbone_starts_where_pretraining_ended(shapes, pretrained, name, start, tmp_path):
    config = CONFIGS / f'{name}_metaspike-tiny_t1_shapes.py'
    pytest.importorskip('mmdet' if name == 'mask_rcnn' else 'mmseg', reason='its library')
    options = [
        *(option.format(pretrained) for option in start),
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_cfg.val_begin=999',
        'train_cfg.max_iters=1' if name == 'semantic_fpn' else 'train_cfg.max_epochs=1',
        'optim_wrapper.optimizer.lr=0.0',  # What is trained is what was loaded.
        'param_scheduler=[]',
    ]
    runner = cli.train(arguments(shapes, tmp_path, *options, config=config))
    weights = load_checkpoint_file(pretrained)['state_dict']
    own = dict(runner.model.backbone.named_parameters())
    assert own.keys() <= {k.removeprefix('backbone.') for k in weights}
    assert all(torch.equal(own[k], weights[f'backbone.{k}']) for k in own)


def test_crops_hold_one_object_each(shapes):
    folder = cut_shapes(shapes)
    for split in ('train', 'val'):
        found = sorted(int(p.stem) for p in folder.glob(f'{split}/*/*.png'))
        told = json.loads((shapes / f'annotations/instances_{split}.json').read_text())
        names = {c['id']: c['name'] for c in told['categories']}
        assert found == sorted(a['id'] for a in told['annotations'])
        for instance in told['annotations']:
            name = names[instance['category_id']]
            assert (folder / split / name / f'{instance["id"]:06d}.png').is_file()


def test_crops_of_something_else_are_refused(tmp_path):
    with pytest.raises(UserError, match='holds no generated shapes'):
        cut_shapes(tmp_path)
    assert not list(tmp_path.iterdir())
