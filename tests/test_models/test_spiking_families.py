"""Every other family of spiking models, built from its shipped config with narrow layers."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from narrow_models import narrow
from spikes import may_see_real_values, see_real_values
from torch import nn

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import SpikingHead
from mmspike.models.consistency import Told, check_strides
from mmspike.neurons import LIF, set_time_steps

CONFIGS = Path(__file__).parents[2] / 'configs'
DETECTION = [
    'mask_rcnn_metaspike-pafpn_t1_coco',
    'cascade_mask_rcnn_metaspike_t1_coco',
    'retinanet_metaspike_t1_coco',
    'fcos_metaspike_t1_coco',
    'yolox_metaspike_t1_coco',
    'rtmdet',
]
SEGMENTATION = [
    'semantic_fpn_metaspike_ade20k',
    'semantic_fpn_metaspike-stride4_t1_ade20k',
    'upernet_metaspike_t1_ade20k',
    'fcn_metaspike_t1_voc2012',
]
T, B = 2, 2
SIZE = (64, 96)
SPIKE = dict(type='mmspike.SpikeConv2d')
RTMDET = {  # On the backbone of the YOLOX.
    'model.type': 'mmspike.SpikeRTMDet',
    'model.neck': dict(
        _delete_=True,
        type='mmspike.SpikeCSPNeXtPAFPN',
        in_channels=[80, 160, 320],
        out_channels=16,
        num_csp_blocks=1,
    ),
    'model.bbox_head': dict(
        _delete_=True,
        type='mmspike.SpikeRTMDetHead',
        num_classes=80,
        in_channels=16,
        feat_channels=16,
        stacked_convs=2,
        with_objectness=True,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    ),
    'model.train_cfg': dict(
        _delete_=True,
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    'model.test_cfg': dict(
        nms_pre=100, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.65)
    ),
}


def build(name, time_steps=T, **options):
    if name == 'rtmdet':
        name, options = 'yolox_metaspike_t1_coco', {**RTMDET, **options}
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.model.data_preprocessor.pop('batch_augments', None)  # It scales to 480 pixels at least.
    pytest.importorskip(config.default_scope, reason='the library of this config')
    config.merge_from_dict({'model.backbone.time_steps': time_steps, **options})
    model = narrow(config)
    if 'size' in model.data_preprocessor:
        model.data_preprocessor.size = SIZE  # Not padded to the crops of the dataset.
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(model)
    model.init_weights()
    return randomize_norms(model)


def batch(name):
    inputs = [torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in range(B)]
    return dict(
        inputs=inputs,
        data_samples=[
            segmented(i) if name in SEGMENTATION else detected(i, name) for i in range(B)
        ],
    )


def meta(index):
    keys = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return dict(dict.fromkeys(keys, SIZE), scale_factor=(1.0, 1.0), img_id=index)


def segmented(index):
    from mmseg.structures import SegDataSample

    labels = torch.randint(0, 20, (1, *SIZE))
    labels[:, :8] = 255
    return SegDataSample(metainfo=meta(index), gt_sem_seg=PixelData(data=labels))


def detected(index, name):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[4.0, 4.0, 40.0, 44.0], [30.0, 10.0, 90.0, 60.0]])
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    sample = DetDataSample(metainfo=meta(index))
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([index, 5]), masks=BitmapMasks(masks.numpy(), *SIZE)
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), masks=BitmapMasks([], *SIZE)
    )
    if 'mask_rcnn' not in name:
        del sample.gt_instances.masks
    return sample


def total_loss(model, data):
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    return model.parse_losses(losses)[0]


@torch.no_grad()
def predict(model, data):
    return model.eval()(**model.data_preprocessor(data), mode='predict')


@pytest.fixture(params=[*DETECTION, *SEGMENTATION])
def name(request):
    return request.param


def test_forward_and_backward_reach_every_parameter(name):
    model = build(name).train()
    loss = total_loss(model, batch(name))
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_every_weight_layer_but_the_first_sees_spikes_only(name):
    model = build(name)
    if model.with_auxiliary_head if name in SEGMENTATION else False:
        del model.auxiliary_head  # It runs in training alone.
    assert see_real_values(model, lambda: predict(model, batch(name))) == may_see_real_values(model)
    assert {m.time_steps for m in model.modules() if hasattr(m, 'time_steps')} == {T}


def test_one_prediction_an_image_alike_alone_and_in_a_batch(name):
    model, data = build(name, time_steps=3), batch(name)  # No axis passes for the other.
    together = predict(model, data)
    assert len(together) == B
    for i, expected in enumerate(together):
        (alone,) = predict(model, {k: v[i : i + 1] for k, v in data.items()})
        if name in SEGMENTATION:
            assert expected.seg_logits.shape[-2:] == SIZE
            torch.testing.assert_close(alone.seg_logits.data, expected.seg_logits.data)
        else:
            assert len(expected.pred_instances.scores) > 0
            torch.testing.assert_close(alone.pred_instances.scores, expected.pred_instances.scores)


# mmcv has no NMS in double precision for the RoIs of others; test_mask_rcnn.py looks at them.
@pytest.mark.parametrize('name', [*DETECTION[2:], *SEGMENTATION])
def test_nothing_depends_on_where_channels_lie_in_memory(name):
    found = []
    for channels_last in (False, True):
        model = build(name, **{'model.backbone.channels_last': channels_last}).double().train()
        torch.manual_seed(1)  # Pixels and dropout.
        if name in DETECTION[4:]:  # Their assignment of boxes knows single precision alone.
            outputs = model(**model.data_preprocessor(batch(name), training=True), mode='tensor')
            loss = sum(output.square().sum() for levels in outputs for output in levels)
        else:
            loss = total_loss(model, batch(name))
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss, torch.cat(grads)))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def test_logits_are_the_mean_over_time():
    """At T = 2 of a neuron without memory (tau = 1), both steps are the same: T = 1 again."""
    name = 'semantic_fpn_metaspike_ade20k'
    tau = {'model.backbone.neuron.tau': 1.0}
    one, two = (build(name, time_steps=t, **tau) for t in (1, T))
    two.load_state_dict(one.state_dict())
    data = batch(name)
    for a, b in zip(predict(one, data), predict(two, data), strict=True):
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data)


@pytest.mark.parametrize('steps', [1, T])
def test_averaging_before_the_neck_is_an_option(steps):
    name = 'semantic_fpn_metaspike_ade20k'
    model = build(name, time_steps=steps, **{'model.backbone.time_reduction': 'mean'})
    assert {m.time_steps for m in model.neck.modules() if isinstance(m, LIF)} == {1}
    assert model.decode_head.conv_seg.time_steps == 1
    assert len(predict(model, batch(name))) == B


@pytest.mark.parametrize('reduction', [None, 'mean'])
def test_new_time_steps_of_a_whole_model_leave_each_image_its_own(reduction):
    """Also where the backbone averages: heads then must not average over a batch that T divides."""
    name, data = 'semantic_fpn_metaspike_ade20k', batch('semantic_fpn_metaspike_ade20k')
    options = {'model.backbone.time_reduction': reduction}
    model, expected = build(name, time_steps=1, **options), build(name, time_steps=T, **options)
    set_time_steps(nn.Sequential(model), T)
    assert model.backbone.time_steps == T
    together = predict(model, data)
    assert len(together) == B
    for i, image in enumerate(predict(expected, data)):
        (alone,) = predict(model, {k: v[i : i + 1] for k, v in data.items()})
        for logits in (together[i].seg_logits.data, alone.seg_logits.data):
            torch.testing.assert_close(logits, image.seg_logits.data)
    assert not torch.equal(together[0].seg_logits.data, together[1].seg_logits.data)


def test_parameters_of_the_paper():
    """The paper prints 16.5M and 58.9M; it truncates."""
    for name, count in (
        ('semantic_fpn_metaspike_ade20k', 16_471_166),
        ('semantic_fpn_metaspike-55m_t1_ade20k', 58_994_326),
    ):
        config = Config.fromfile(CONFIGS / f'{name}.py')
        pytest.importorskip('mmseg', reason='a model of mmseg')
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = MODELS.build(config.model)
        assert sum(p.numel() for p in model.parameters()) == count


def test_a_yolox_of_as_many_parameters_as_the_papers():
    """It prints 16.8M; the weight layers behind the backbone are tested narrow, above."""
    pytest.importorskip('mmdet', reason='a model of mmdet')
    config = Config.fromfile(CONFIGS / 'yolox_metaspike_t1_coco.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    assert sum(p.numel() for p in model.parameters()) == 16_787_063


def test_an_rtmdet_shares_convolutions_and_keeps_their_norms_when_merged():
    model = build('rtmdet').eval()
    levels = model.bbox_head.cls_convs
    assert levels[0][1].conv is levels[2][1].conv and levels[0][1].bn is not levels[2][1].bn
    kept = [n for n, m in reparameterize(model).named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept and all(n.startswith(('bbox_head.cls_convs', 'bbox_head.reg_convs')) for n in kept)


def test_an_rtmdet_without_objectness():
    model = build('rtmdet', **{'model.bbox_head.with_objectness': False})
    assert len(predict(model, batch('rtmdet'))) == B


def test_a_t1_checkpoint_fits_t4(name):
    result = build(name, 4).load_state_dict(build(name, 1).state_dict(), strict=False)
    assert not result.missing_keys
    assert not result.unexpected_keys


def test_xavier_for_what_is_new_in_segmentation():
    model = build('semantic_fpn_metaspike_ade20k')
    for conv in (
        model.neck.lateral_convs[0].conv,
        model.decode_head.scale_heads[3][0].conv,
        model.decode_head.conv_seg,
    ):
        fans = (conv.in_channels + conv.out_channels) * conv.kernel_size[0] ** 2
        assert conv.weight.abs().max().item() == pytest.approx((6 / fans) ** 0.5, rel=0.05)


def test_a_head_may_take_some_levels():
    options = {
        'model.decode_head.in_channels': [128, 128],
        'model.decode_head.in_index': [1, 3],
        'model.decode_head.feature_strides': [4, 16],
    }
    model = build(SEGMENTATION[0], **options)
    assert len(predict(model, batch(SEGMENTATION[0]))) == B


@pytest.mark.parametrize(
    'option',
    [
        {'model.neck.in_channels': [8, 16, 32, 48]},
        {'model.neck.in_channels': [64, 128, 160]},
        {'model.backbone.out_indices': (2, 3), 'model.backbone.out_strides': None},
    ],
)
def test_a_neck_that_does_not_fit_the_outputs_is_refused(option):
    with pytest.raises(UserError) as caught:
        build(DETECTION[0], **option)
    assert caught.value.sentence.startswith('the neck has in_channels=[')
    assert 'but the outputs of the backbone have [' in caught.value.sentence


def test_a_pyramid_that_labels_strides_wrongly_is_refused():
    with pytest.raises(UserError, match='told the strides .* levels .* have'):
        build(DETECTION[0], **{'model.backbone.out_strides': (4, 8, 16, 16)})
    with pytest.raises(UserError, match='mask_roi_extractor is told the strides'):
        build(DETECTION[0], **{'model.roi_head.mask_roi_extractor.featmap_strides': [4, 8, 16, 16]})
    with pytest.raises(UserError, match='told the strides'):
        build(SEGMENTATION[0], **{'model.decode_head.feature_strides': [4, 8, 16, 32]})


STOCK = dict(_delete_=True, out_channels=16)
MAPPER = dict(STOCK, type='ChannelMapper', num_outs=5, act_cfg=None, conv_cfg=SPIKE)
RESIZED = dict(STOCK, scales=[0.5, 1, 2, 4])  # Strides 2, 4, 8, 16 become 4.


@pytest.mark.parametrize(
    ('name', 'neck', 'told', 'right', 'wrong'),
    [
        (
            'retinanet_metaspike_t1_coco',
            dict(MAPPER, in_channels=[128, 256, 360]),
            'bbox_head.anchor_generator.strides',
            [8, 16, 32, 64, 128],
            [8, 16, 16, 32, 64],
        ),
        (
            'fcos_metaspike_t1_coco',
            dict(MAPPER, in_channels=[128, 256, 360]),
            'bbox_head.strides',
            [8, 16, 32, 64, 128],
            [4, 8, 16, 32, 64],
        ),
        (
            'semantic_fpn_metaspike_ade20k',
            dict(RESIZED, in_channels=[32, 64, 128, 360]),
            'decode_head.feature_strides',
            [4, 4, 4, 4],
            [2, 4, 8, 16],
        ),
    ],
)
def test_strides_that_arrive_are_those_that_are_told(name, neck, told, right, wrong):
    if name in SEGMENTATION:
        necks = pytest.importorskip('mmseg.models.necks', exc_type=ImportError)
        kind = type('SpikeMultiLevelNeck', (SpikingHead, necks.MultiLevelNeck), {})
        neck = dict(neck, type=kind)
    model = build(name, **{'model.neck': neck, f'model.{told}': right})
    assert len(predict(model, batch(name))) == B
    model = build(name, **{'model.neck': neck, f'model.{told}': wrong})
    part = told.split('.')[0]
    with pytest.raises(UserError, match=f'{part} is told the strides .* that reach it have'):
        predict(model, batch(name))


def test_sizes_that_layers_round_are_no_other_strides():
    """An image of 61 x 97: each layer of stride 2 rounds up or down; a wrong stride still shows."""
    told = [Told('head', (4, 8, 16, 32, 64), None)]
    up = [(math.ceil(61 / s), math.ceil(97 / s)) for s in told[0].strides]
    down = [(max(61 // s, 1), max(97 // s, 1)) for s in told[0].strides]
    check_strides(told, (61, 97), up)
    check_strides(told, (61, 97), down)
    check_strides(told, (100, 100), [(28, 28), (14, 14), (7, 7), (4, 4)])  # 7 = ceil(100 / 16), x4.
    check_strides([Told('head', (8, 32), (1, 3))], (61, 97), up)
    for levels in (up[1:], [*up[:3], up[2], up[3]], [(h, up[0][1]) for h, _ in up]):
        with pytest.raises(UserError, match=r'head is told the strides \(4, 8, 16, 32, 64\)'):
            check_strides(told, (61, 97), levels)


CSPNEXT = dict(
    _delete_=True, type='CSPNeXtPAFPN', in_channels=[128, 256, 360], out_channels=16, conv_cfg=SPIKE
)
CHANGED = {  # mmdet's block has a convolution that its conv_cfg does not reach.
    'model.neck': CSPNEXT,
    'model.bbox_head.num_ins': 3,
    'model.bbox_head.anchor_generator.strides': [8, 16, 32],
}


def test_a_layer_that_conv_cfg_does_not_reach_is_refused_by_name():
    name = 'retinanet_metaspike_t1_coco'
    found = r'neck\.top_down_blocks\.0\.blocks\.0\.conv1.* is a Conv2d without a neuron'
    with pytest.raises(UserError, match=f'{found}.*SpikingHead.*make_spiking'):
        build(name, **CHANGED)
    for way_out in ('neuron.type', 'ReLU'), ('time_reduction', 'mean'):
        build(name, **CHANGED, **{f'model.backbone.{way_out[0]}': way_out[1]})
    necks = pytest.importorskip('mmdet.models.necks', exc_type=ImportError)
    kind = type('SpikeCSPNeXtPAFPN', (SpikingHead, necks.CSPNeXtPAFPN), {})
    model = build(name, **{**CHANGED, 'model.neck': dict(CSPNEXT, type=kind)})
    assert see_real_values(model, lambda: predict(model, batch(name))) == may_see_real_values(model)


def test_an_auxiliary_head_must_spike_and_a_loss_may_have_weights():
    name = 'upernet_metaspike_t1_ade20k'
    with pytest.raises(UserError, match=r'auxiliary_head\..* is a Conv2d without a neuron'):
        build(name, **{'model.auxiliary_head.type': 'FCNHead'})

    class Centres(nn.Linear):
        loss_name = 'loss_centres'

        def __init__(self):
            super().__init__(4, 4)

    build(name, **{'model.auxiliary_head.loss_decode': dict(_delete_=True, type=Centres)})


def test_synchronized_norms_compute_the_same():
    """Several GPUs convert BN to SyncBN (`sync_bn` of the config), RepConv's padding norms too."""
    from mmengine.model.utils import convert_sync_batchnorm
    from torch.nn import BatchNorm2d, SyncBatchNorm

    name = 'semantic_fpn_metaspike_ade20k'
    model, data = build(name), batch(name)
    before = predict(model, data)
    synced = convert_sync_batchnorm(model, 'torch')
    assert not any(type(m) is BatchNorm2d for m in synced.modules())
    assert any(isinstance(m, SyncBatchNorm) for m in synced.modules())
    for a, b in zip(before, predict(synced, data), strict=True):
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data)
