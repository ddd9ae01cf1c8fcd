"""Every registered type is found from each library's scope, and importing mmspike is light."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS, DefaultScope
from torch import nn

import mmspike.registry as ours
from mmspike.neurons import set_time_steps

SCOPES = [s for s in ('mmdet', 'mmseg', 'mmpretrain') if find_spec(s)]
TINY = dict(dims=(8, 8, 8, 8, 8), depths=(1,) * 5, heads=1)
# What a part of mmdet builds inside itself is looked up in the config's scope: named in full, it is
# found from any.
CODER = dict(type='mmdet.DeltaXYWHBBoxCoder')
LOSSES = dict(loss_cls=dict(type='mmdet.CrossEntropyLoss'), loss_bbox=dict(type='mmdet.L1Loss'))
RPN = dict(
    in_channels=8,
    feat_channels=8,
    anchor_generator=dict(type='mmdet.AnchorGenerator', scales=[8], ratios=[1.0], strides=[4]),
    bbox_coder=CODER,
    **LOSSES,
)
ROI_LAYER = dict(type='RoIAlign', output_size=7)
MODEL_ARGUMENTS = {
    'LIF': {},
    'SpikeConv2d': dict(in_channels=1, out_channels=1, kernel_size=1),
    'SpikeConvTranspose2d': dict(in_channels=1, out_channels=1, kernel_size=1),
    'SpikeLinear': dict(in_features=1, out_features=1),
    'MetaSpikeFormer': dict(arch=TINY),
    'SpikeFPN': dict(in_channels=[8, 8], out_channels=8, num_outs=2),
    'SpikeRPNHead': RPN,
    'SpikeRoIExtractor': dict(roi_layer=ROI_LAYER, out_channels=8, featmap_strides=[4]),
    'SpikeShared2FCBBoxHead': dict(
        in_channels=8, fc_out_channels=8, num_classes=2, bbox_coder=CODER, **LOSSES
    ),
    'SpikeFCNMaskHead': dict(
        in_channels=8,
        conv_out_channels=8,
        num_classes=2,
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_mask=True),
    ),
    'SpikeMaskRCNN': dict(
        backbone=dict(type='mmspike.MetaSpikeFormer', arch=TINY, time_steps=2),
        neck=dict(type='mmspike.SpikeFPN', in_channels=[8] * 5, out_channels=8, num_outs=5),
        rpn_head=None,
        roi_head=None,
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
        train_cfg=None,
        test_cfg=None,
    ),
}
OTHERS = [
    (HOOKS, ours.HOOKS, 'CheckFiniteLossHook'),
    (TRANSFORMS, ours.TRANSFORMS, 'LoadImageFromFile'),
]


@pytest.fixture(params=SCOPES)
def scope(request):
    with DefaultScope.overwrite_default_scope(request.param):
        yield request.param


def test_these_are_all_registered_types():
    for registry in (ours.MODELS, ours.HOOKS, ours.TRANSFORMS, ours.DATASETS):
        registry.import_from_location()
    assert set(ours.MODELS.module_dict) == set(MODEL_ARGUMENTS)
    assert set(ours.HOOKS.module_dict) == {'CheckFiniteLossHook'}
    assert set(ours.TRANSFORMS.module_dict) == {'LoadImageFromFile'}
    assert not ours.DATASETS.module_dict
    assert ours.DATASETS.parent is DATASETS


@pytest.mark.parametrize('name', MODEL_ARGUMENTS)
def test_a_model_type_builds_from_every_scope(scope, name):
    if name.startswith(('SpikeFPN', 'SpikeR', 'SpikeS', 'SpikeF', 'SpikeM')):
        pytest.importorskip('mmdet', reason='a model of mmdet')
    module = MODELS.build(dict(type=f'mmspike.{name}', **MODEL_ARGUMENTS[name]))
    assert isinstance(set_time_steps(module, 2), nn.Module)


@pytest.mark.parametrize(('root', 'own', 'name'), OTHERS)
def test_other_types_build_from_every_scope(scope, root, own, name):
    built = root.build(dict(type=f'mmspike.{name}'))
    assert type(built) is own.get(name)


def run_python(code):
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_mmspike_imports_no_other_library():
    code = 'import sys, mmspike, mmspike.registry; print(*sys.modules)'
    loaded = run_python(code).split()
    assert not {'mmdet', 'mmseg', 'mmpretrain', 'mmcv', 'mmspike.models'} & set(loaded)
    assert 'torch' not in run_python('import sys, mmspike; print(*sys.modules)').split()


@pytest.mark.parametrize('missing', [('mmdet',), ('mmseg',), ('mmdet', 'mmseg', 'mmpretrain')])
def test_without_a_library_the_rest_works(missing):
    hide = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
import importlib.util as u
real = u.find_spec
u.find_spec = lambda name, *a: None if name in {missing!r} else real(name, *a)
from mmengine.registry import HOOKS, MODELS
print(type(MODELS.build(dict(type='mmspike.MetaSpikeFormer'))).__name__)
print(type(HOOKS.build(dict(type='mmspike.CheckFiniteLossHook'))).__name__)
"""
    assert run_python(hide).split()[-2:] == ['MetaSpikeFormer', 'CheckFiniteLossHook']
