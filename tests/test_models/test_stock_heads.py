"""The backbone with `time_reduction='mean'` before the heads of the three libraries as they are."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).parents[2]
TINY = dict(dims=(8, 8, 8, 8, 8), depths=(1,) * 5, heads=2)
BACKBONE = dict(
    type='mmspike.MetaSpikeFormer',
    arch=TINY,
    time_steps=2,
    out_indices=(1, 2, 3, 4),
    time_reduction='mean',
)
SIZE = 128


def config_of(library, path):
    spec = pytest.importorskip(library, reason='its own config')
    return Path(spec.__file__).parent / '.mim/configs' / path


def without_scopes(node):
    if isinstance(node, dict):
        return {k: without_scopes(v) for k, v in node.items() if k != '_scope_'}
    return [without_scopes(v) for v in node] if isinstance(node, list) else node


def check_levels(levels, told):
    assert [SIZE // level.shape[-1] for level in levels] == told
    assert {level.shape[0] for level in levels} == {1}


def test_mmdet_mask_rcnn_as_the_readme_shows_it(tmp_path):
    stock = config_of('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    example = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)[0]
    example = '\n'.join(line.removeprefix('  ') for line in example.splitlines())
    config = tmp_path / 'example.py'
    config.write_text(example)
    config, stock = Config.fromfile(config), Config.fromfile(stock)
    model = without_scopes(config.model)
    assert {k for k, v in model.items() if v != stock.model[k]} == {'backbone'}
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model).eval()
    with torch.no_grad():
        levels = model.extract_feat(torch.randn(1, 3, SIZE, SIZE))
    check_levels(levels, [stride for stride, _ in model.rpn_head.prior_generator.strides])


def test_mmseg_semantic_fpn_with_nothing_but_our_backbone():
    config = Config.fromfile(config_of('mmseg', 'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'))
    config.model.backbone = dict(
        BACKBONE, out_channels=(256, 512, 1024, 2048), out_strides=(4, 8, 16, 32)
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model).eval()
    with torch.no_grad():
        check_levels(
            model.extract_feat(torch.randn(1, 3, SIZE, SIZE)), model.decode_head.feature_strides
        )
        assert model(torch.randn(2, 3, 64, 96)).shape == (2, 150, 16, 24)


@pytest.mark.skipif(not find_spec('mmpretrain'), reason='mmpretrain is not installed')
def test_mmpretrain_image_classifier():
    backbone = dict(BACKBONE, out_indices=(4,))
    head = dict(type='LinearClsHead', in_channels=8, num_classes=5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=head,
            )
        )
        scores = model(torch.randn(2, 3, 32, 32), mode='tensor')
    assert scores.shape == (2, 5)
