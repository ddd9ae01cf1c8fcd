"""Every registered type is found from each library's scope, and importing mmspike is light."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS, DefaultScope
from torch import nn

import mmspike.registry as ours
from mmspike import models
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
BACKBONE = dict(type='mmspike.MetaSpikeFormer', arch=TINY, time_steps=2)
ONE_STAGE = dict(
    backbone=BACKBONE,
    neck=dict(type='mmspike.SpikeFPN', in_channels=[8] * 5, out_channels=8, num_outs=5),
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
    train_cfg=None,
    test_cfg=None,
)
TWO_STAGE = dict(ONE_STAGE, rpn_head=None, roi_head=None)
RETINA = dict(
    type='mmspike.SpikeRetinaHead',
    num_ins=5,
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    anchor_generator=dict(
        type='mmdet.AnchorGenerator', scales=[4], ratios=[1.0], strides=[2, 4, 8, 16, 16]
    ),
    bbox_coder=CODER,
    **LOSSES,
)
FCOS = dict(
    type='mmspike.SpikeFCOSHead',
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    strides=[2, 4, 8, 16, 16],
    norm_cfg=None,
    bbox_coder=dict(type='mmdet.DistancePointBBoxCoder'),
    loss_centerness=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    **LOSSES,
)
YOLOX = dict(
    type='mmspike.SpikeYOLOXHead',
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    strides=(2, 4, 8, 16, 16),
    loss_obj=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    loss_l1=dict(type='mmdet.L1Loss'),
    loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    loss_bbox=dict(type='mmdet.IoULoss'),
)
RTMDET = dict(
    type='mmspike.SpikeRTMDetHead',
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    anchor_generator=dict(type='mmdet.MlvlPointGenerator', strides=[2, 4, 8, 16, 16]),
    bbox_coder=dict(type='mmdet.DistancePointBBoxCoder'),
    loss_centerness=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    **LOSSES,
)
DECODE = dict(
    in_channels=[8, 8],
    in_index=[0, 1],
    channels=8,
    num_classes=3,
    loss_decode=dict(type='mmseg.CrossEntropyLoss'),
)
CLASSIFY = dict(in_channels=8, num_classes=3, loss=dict(type='mmpretrain.CrossEntropyLoss'))
CLASSIFIER = dict(
    backbone=BACKBONE,
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(CLASSIFY, type='mmspike.SpikeLinearClsHead'),
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
)
SEGMENTOR = dict(
    backbone=BACKBONE,
    decode_head=dict(DECODE, type='mmspike.SpikeUPerHead'),
    data_preprocessor=dict(type='mmseg.SegDataPreProcessor'),
    test_cfg=dict(mode='whole'),
)
OF_MMPRETRAIN = (
    'SpikeLinearClsHead',
    'SpikeDistilledClsHead',
    'SpikeImageClassifier',
    'DistilledSpikeClassifier',
)
OF_MMSEG = ('SpikeFPNHead', 'SpikeUPerHead', 'SpikeFCNHead', 'SpikeEncoderDecoder')
OF_MMSEG += ('CrossEntropyLoss', 'SegTTAModel')
OF_NONE = ('LIF', 'SpikeConv2d', 'SpikeConvTranspose2d', 'SpikeLinear', 'MetaSpikeFormer')
OF_NONE += ('SpikeReadoutConv2d', 'SpikeReadoutLinear', 'ILIF', 'NILIF', 'PLIF', 'Neuron')
OF_NONE += ('ESpikeFormer', 'SpikeResNet')  # Of any of the three.
MODEL_ARGUMENTS = {
    'ILIF': {},
    'LIF': {},
    'NILIF': {},
    'Neuron': dict(inplace=True),
    'PLIF': {},
    'SpikeResNet': dict(depth=18, base_channels=8, stem_channels=8),
    'SpikeConv2d': dict(in_channels=1, out_channels=1, kernel_size=1),
    'SpikeConvTranspose2d': dict(in_channels=1, out_channels=1, kernel_size=1),
    'SpikeLinear': dict(in_features=1, out_features=1),
    'SpikeReadoutConv2d': dict(in_channels=1, out_channels=1, kernel_size=1),
    'SpikeReadoutLinear': dict(in_features=1, out_features=1),
    'MetaSpikeFormer': dict(arch=TINY),
    'ESpikeFormer': dict(arch=TINY),
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
    'SpikeMaskRCNN': TWO_STAGE,
    'SpikeCascadeRCNN': TWO_STAGE,
    'SpikeRetinaNet': dict(ONE_STAGE, bbox_head=RETINA),
    'SpikeFCOS': dict(ONE_STAGE, bbox_head=FCOS),
    'SpikeYOLOX': dict(ONE_STAGE, bbox_head=YOLOX),
    'SpikeRTMDet': dict(ONE_STAGE, bbox_head=RTMDET),
    'SpikeYOLOXHead': YOLOX,
    'SpikeRTMDetHead': RTMDET,
    'SpikeCSPNeXtPAFPN': dict(in_channels=[8, 8], out_channels=8, num_csp_blocks=1),
    'SpikeRetinaHead': RETINA,
    'SpikeFCOSHead': FCOS,
    'SpikeFPNHead': dict(DECODE, feature_strides=[4, 8]),
    'CrossEntropyLoss': {},
    'SpikeUPerHead': DECODE,
    'SpikeFCNHead': dict(DECODE, in_channels=8, in_index=0),
    'SpikeLinearClsHead': CLASSIFY,
    'SpikeDistilledClsHead': CLASSIFY,
    'SpikeImageClassifier': CLASSIFIER,
    'DistilledSpikeClassifier': CLASSIFIER,
    'SpikeEncoderDecoder': SEGMENTOR,
    'SegTTAModel': dict(module=dict(SEGMENTOR, type='mmspike.SpikeEncoderDecoder')),
}
OTHERS = [
    (HOOKS, ours.HOOKS, 'CheckFiniteLossHook'),
    (HOOKS, ours.HOOKS, 'CheckScheduleHook'),
    (HOOKS, ours.HOOKS, 'CheckWeightsHook'),
    (HOOKS, ours.HOOKS, 'FiringRateHook'),
    (TRANSFORMS, ours.TRANSFORMS, 'LoadImageFromFile'),
    (TRANSFORMS, ours.TRANSFORMS, 'LoadSegAnnotations'),
    (TRANSFORMS, ours.TRANSFORMS, 'LoadEvents'),
    (TRANSFORMS, ours.TRANSFORMS, 'BinEvents'),
    (TRANSFORMS, ours.TRANSFORMS, 'LoadFrames'),
    (TRANSFORMS, ours.TRANSFORMS, 'FramesToTensor'),
]
DATASET_ARGUMENTS = {
    'CocoDataset': dict(ann_file='told.json'),
    'XMLDataset': dict(ann_file='list.txt'),
    'VOCDataset': dict(ann_file='list.txt'),
    'HARDVS': dict(ann_file='list.txt'),
    'EventDataset': dict(sensor_size=(2, 2)),
}


@pytest.fixture(params=SCOPES)
def scope(request):
    with DefaultScope.overwrite_default_scope(request.param):
        yield request.param


def library(name):
    """The library that a model type builds on, if it builds on one."""
    if name in OF_NONE:
        return None
    others = 'mmseg' if name in OF_MMSEG else 'mmdet'
    return 'mmpretrain' if name in OF_MMPRETRAIN else others


def dataset_library(name):
    return 'mmpretrain' if name in ('HARDVS', 'EventDataset') else 'mmdet'


def is_there(name):
    return library(name) is None or library(name) in SCOPES


def test_these_are_all_registered_types():
    for registry in (ours.MODELS, ours.HOOKS, ours.TRANSFORMS, ours.DATASETS):
        registry.import_from_location()
    assert set(ours.MODELS.module_dict) == {name for name in MODEL_ARGUMENTS if is_there(name)}
    assert set(ours.HOOKS.module_dict) == {
        'CheckFiniteLossHook',
        'CheckScheduleHook',
        'CheckWeightsHook',
        'FiringRateHook',
        'CompileNeuronsHook',
        'FollowModelHook',
        'RepeatableRunHook',
        'WholeCheckpointHook',
    }
    transforms = {name for _, registry, name in OTHERS if registry is ours.TRANSFORMS}
    assert set(ours.TRANSFORMS.module_dict) == transforms
    datasets = {name for name in DATASET_ARGUMENTS if dataset_library(name) in SCOPES}
    assert set(ours.DATASETS.module_dict) == datasets
    assert ours.DATASETS.parent is DATASETS


@pytest.mark.parametrize('name', MODEL_ARGUMENTS)
def test_a_model_type_builds_from_every_scope(scope, name):
    if not is_there(name):
        pytest.skip(f'{library(name)} is not installed')
    module = MODELS.build({**MODEL_ARGUMENTS[name], 'type': f'mmspike.{name}'})
    assert isinstance(set_time_steps(module, 2), nn.Module)


@pytest.mark.parametrize(('root', 'own', 'name'), OTHERS)
def test_other_types_build_from_every_scope(scope, root, own, name):
    built = root.build(dict(type=f'mmspike.{name}'))
    assert type(built) is own.get(name)


@pytest.mark.parametrize('name', DATASET_ARGUMENTS)
def test_a_dataset_type_builds_from_every_scope(scope, name):
    pytest.importorskip(dataset_library(name), reason='the dataset is derived from one of it')
    arguments = dict(DATASET_ARGUMENTS[name], lazy_init=True)
    built = DATASETS.build(dict(type=f'mmspike.{name}', **arguments))
    assert type(built) is ours.DATASETS.get(name)


def run_python(code):
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_mmspike_imports_no_other_library():
    code = 'import sys, mmspike, mmspike.registry; print(*sys.modules)'
    loaded = run_python(code).split()
    assert not {'mmdet', 'mmseg', 'mmpretrain', 'mmcv', 'mmspike.models'} & set(loaded)
    assert 'torch' not in run_python('import sys, mmspike; print(*sys.modules)').split()


@pytest.mark.slow
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
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
model = MODELS.build(dict(type='mmspike.MetaSpikeFormer'))
hook = HOOKS.build(dict(type='mmspike.CheckFiniteLossHook'))
transform = TRANSFORMS.build(dict(type='mmspike.BinEvents'))
print(*(type(built).__name__ for built in (model, hook, transform)))
from mmspike.models import *
print(MetaSpikeFormer.__name__)
for library, name in (('mmdet', 'SpikeMaskRCNN'), ('mmseg', 'SpikeFPNHead')):
    if library in {missing!r}:
        assert name not in globals()
        try:
            exec(f'from mmspike.models import {{name}}')
        except ImportError as error:
            assert str(error).startswith(f'{{name}} needs {{library}}, '), error
        else:
            raise AssertionError(name)
"""
    built = ['MetaSpikeFormer', 'CheckFiniteLossHook', 'BinEvents', 'MetaSpikeFormer']
    assert run_python(hide).split()[-4:] == built


@pytest.mark.slow
def test_a_library_that_cannot_be_imported_takes_only_its_own_models(tmp_path):
    (tmp_path / 'mmseg').mkdir()
    (tmp_path / 'mmseg/__init__.py').write_text("raise ImportError('needs ftfy')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from mmengine.registry import MODELS
print(type(MODELS.build(dict(type='mmspike.MetaSpikeFormer'))).__name__)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == 'MetaSpikeFormer'
    assert 'mmseg is installed but cannot be imported (needs ftfy)' in done.stdout + done.stderr


def test_parts_are_imported_on_first_use():
    code = """
import mmspike
mmspike.models.MetaSpikeFormer
print(all(hasattr(mmspike, name) for name in mmspike.__all__))
print(set(mmspike.__all__) <= set(dir(mmspike)), hasattr(mmspike, 'modells'))
"""
    assert run_python(code).split()[-3:] == ['True', 'True', 'False']


@pytest.mark.skipif('mmdet' not in SCOPES, reason='mmdet is not installed')
def test_models_are_imported_by_their_names():
    code = (
        'from mmspike.models import MetaSpikeFormer, SpikeMaskRCNN; print(SpikeMaskRCNN.__name__)'
    )
    assert run_python(code).split()[-1] == 'SpikeMaskRCNN'


def test_names_of_models_are_those_of_their_parts():
    assert SCOPES
    for library in SCOPES:
        for part, names in models.PARTS[library].items():
            module = getattr(models, part)
            assert sorted(names) == sorted(module.__all__)
            assert all(getattr(models, name) is getattr(module, name) for name in names)
            assert {part, *names} <= set(models.__all__) & set(dir(models))
