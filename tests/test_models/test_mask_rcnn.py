"""The spiking Mask R-CNN as a whole, built from the shipped configs."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from spikes import may_see_real_values, see_real_values
from torch import nn

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.errors import UserError
from mmspike.layers import SDSA3
from mmspike.neurons import LIF

pytest.importorskip('mmdet', reason='Mask R-CNN is a model of mmdet')
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

CONFIGS = Path(__file__).parents[2] / 'configs'
T, B = 2, 2


def build(name='mask_rcnn_metaspike-tiny_t1_shapes', **options):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict({'model.backbone.pretrained': None, **options})
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def tiny(time_steps=T, **options):
    return randomize_norms(build(**{'model.backbone.time_steps': time_steps, **options}))


def batch(objects=(2, 1), size=(64, 96)):
    """Images and ground truth; `objects` says how many each image holds."""
    inputs, samples = [], []
    for count in objects:
        inputs.append(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
        corner = torch.rand(count, 2) * 30
        masks = torch.zeros(count, *size).numpy().astype('uint8')
        for i, (x, y) in enumerate(corner.int().tolist()):
            masks[i, y : y + 24, x : x + 24] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=size,
                ori_shape=size,
                pad_shape=size,
                batch_input_shape=size,
                scale_factor=(1.0, 1.0),
                img_id=len(samples),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 24], 1),
            labels=torch.arange(count) % 3,
            masks=BitmapMasks(masks, *size),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), masks=BitmapMasks([], *size)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def losses(model, data):
    data = model.data_preprocessor(data, training=True)
    return model(**data, mode='loss')


def predict(model, data):
    with torch.no_grad():
        return model.eval()(**model.data_preprocessor(data), mode='predict')


@pytest.mark.parametrize(
    ('name', 'millions'),
    [
        ('mask_rcnn_metaspike_coco', 34.9),
        ('mask_rcnn_metaspike_t4_coco', 34.9),
        ('mask_rcnn_metaspike-55m_t1_coco', 75.0),
    ],
)
def test_parameters_of_the_paper(name, millions):
    model = build(name)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize('time_steps', [1, T])
def test_forward_and_backward_reach_every_parameter(time_steps):
    model = tiny(time_steps).train()
    total = sum(
        v
        for k, vs in losses(model, batch()).items()
        if 'loss' in k
        for v in (vs if isinstance(vs, list) else [vs])
    )
    total.backward()
    assert total.isfinite()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_losses_with_images_without_objects():
    for value in losses(tiny().train(), batch(objects=(0, 0))).values():
        for part in value if isinstance(value, list) else [value]:
            assert part.isfinite().all()


@pytest.mark.parametrize('time_steps', [1, T])
def test_predictions_are_one_an_image_whatever_t(time_steps):
    results = predict(tiny(time_steps), batch())
    assert len(results) == B
    for result in results:
        instances = result.pred_instances
        assert instances.masks.shape == (len(instances.bboxes), 64, 96)


def test_an_image_is_predicted_alike_alone_and_in_a_batch():
    model, data = tiny(3), batch()  # T = 3 and B = 2: no axis passes for the other.
    together = predict(model, data)
    for i, expected in enumerate(together):
        alone = dict(inputs=data['inputs'][i : i + 1], data_samples=data['data_samples'][i : i + 1])
        (result,) = predict(model, alone)
        mine, other = result.pred_instances, expected.pred_instances
        assert len(other.scores) > 0
        torch.testing.assert_close(mine.scores, other.scores)
        torch.testing.assert_close(mine.bboxes, other.bboxes)


def test_several_rpn_convolutions_as_in_mmdet():
    head = tiny(**{'model.rpn_head.num_convs': 3}).rpn_head
    assert len(head.rpn_conv) == 3


def test_prediction_without_any_detection():
    model = tiny(**{'model.test_cfg.rcnn.score_thr': 1.1})
    for result in predict(model, batch()):
        assert len(result.pred_instances.bboxes) == 0
        assert result.pred_instances.masks.shape == (0, 64, 96)


def test_every_weight_layer_but_the_first_sees_spikes_only():
    model = tiny()
    real = see_real_values(model, lambda: predict(model, batch()))
    assert real == may_see_real_values(model)


def test_time_steps_and_neuron_are_written_once():
    model = tiny(3)
    told = {m.time_steps for m in model.modules() if hasattr(m, 'time_steps')}
    assert told == {3}
    twin = tiny(**{'model.backbone.neuron.type': 'ReLU'})
    assert not any(isinstance(m, LIF) for m in twin.modules())
    assert twin.state_dict().keys() == model.state_dict().keys()


def test_reduced_backbone_leaves_one_step_to_the_rest():
    model = tiny(**{'model.backbone.time_reduction': 'mean'})
    assert model.rpn_head.rpn_cls.time_steps == 1
    assert model.backbone.stages[4][0].token_mixer.neuron.time_steps == T
    assert len(predict(model, batch())) == B


@pytest.mark.slow
def test_real_strides_are_those_that_anchors_and_roi_extractors_are_told():
    """Move one bright pixel by a candidate stride; a level of that stride moves by one cell."""
    model = tiny(1).eval()
    size = 512
    told = model.rpn_head.prior_generator.strides
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        strides = extractor.featmap_strides
        assert [s[0] for s in told[: len(strides)]] == strides
    with torch.no_grad():
        for level, feature in enumerate(model.extract_feat(torch.rand(1, 3, size, size))):
            assert size / feature.shape[-1] == told[level][0]
            # The size alone could lie: where a change in the image is felt must agree too.
            assert centre_of_influence(model, size, level) == pytest.approx(
                size * 0.75, abs=told[level][0]
            )


def centre_of_influence(model, size, level):
    """Where, in image pixels, a level feels a patch around 3/4 of the width, by gradients."""
    model = model.double()
    for m in model.modules():
        if isinstance(m, LIF):
            m.alpha = 0.5  # A wide slope: every path carries some gradient.
        elif isinstance(m, SDSA3):
            nn.init.zeros_(m.proj.norm3.weight)  # Attention sees the whole image.
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        feature = model.extract_feat(image)[level]
        stride = size / feature.shape[-1]
        cell = int(size * 0.75 / stride)
        (grad,) = torch.autograd.grad(feature[..., cell].pow(2).sum(), image)
    weight = grad.abs().sum((0, 1, 2))
    return float((weight * (torch.arange(size) + 0.5)).sum() / weight.sum())


def levels(extractor, size=64):
    """Random features of an image of `size` pixels, as many as an extractor takes."""
    shapes = ((T * B, extractor.out_channels, *[size // s] * 2) for s in extractor.featmap_strides)
    return [torch.randn(shape) for shape in shapes]


def test_features_in_bfloat16_are_sampled_as_what_they_say():
    extractor = build(**{'model.backbone.time_steps': T}).roi_head.bbox_roi_extractor
    feats = [level.bfloat16() for level in levels(extractor)]
    rois = torch.tensor([[0, 0, 0, 30, 30], [1, 8, 4, 60, 50]], dtype=torch.float32)
    sampled = extractor(feats, rois)
    assert sampled.dtype == torch.bfloat16
    expected = extractor([feat.float() for feat in feats], rois)
    assert torch.equal(sampled, expected.bfloat16())


@pytest.mark.parametrize('kind', ['bbox', 'mask'])
def test_rois_see_the_same_wherever_channels_lie(kind):
    extractor = getattr(build(**{'model.backbone.time_steps': T}).roi_head, f'{kind}_roi_extractor')
    feats = levels(extractor)
    rois = torch.tensor([[0, 0, 0, 30, 30], [1, 8, 4, 60, 50]], dtype=torch.float32)
    last = [feat.contiguous(memory_format=torch.channels_last) for feat in feats]
    assert torch.equal(extractor(last, rois), extractor(feats, rois))


def test_features_reach_spiking_parts_as_they_lie():
    model = tiny(**{'model.backbone.channels_last': True})
    for level in model.backbone(torch.randn(B, 3, 64, 64)):
        assert level.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('objects', [(2,), (2, 1)])
@pytest.mark.parametrize('time_steps', [1, T])
def test_the_gradients_of_norms_lie_as_their_outputs(objects, time_steps):
    """Else torch takes ten times as long for a norm; a single image is its own case."""
    model = tiny(time_steps, **{'model.backbone.channels_last': True}).train()
    seen = []

    def watch(norm, args, out):
        out.register_hook(lambda grad: seen.append((out.shape, grad.stride() == out.stride())))

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(watch)
    data = model.data_preprocessor(batch(objects), training=True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert len(seen) > 50
    assert [shape for shape, alike in seen if not alike and shape[-1] > 1] == []


def test_an_extractor_without_time_steps_is_refused():
    stock = {'model.roi_head.bbox_roi_extractor.type': 'SingleRoIExtractor'}
    with pytest.raises(UserError, match=r'bbox_roi_extractor .*mmspike\.SpikeRoIExtractor'):
        build(**stock)
    build(**stock, **{'model.backbone.time_reduction': 'mean'})


def test_the_layout_of_memory_changes_nothing():
    """Of a whole detector in training: losses and gradients."""
    found = []
    for channels_last in (False, True):
        model = tiny(**{'model.backbone.channels_last': channels_last}).train()
        torch.manual_seed(0)
        data = model.data_preprocessor(batch(), training=True)
        torch.manual_seed(0)
        losses = model(**data, mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((total.item(), grads))
    (first, mine), (other, others) = found
    assert other == pytest.approx(first, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(mine, others, dim=0) > 0.99


def test_a_t1_checkpoint_fits_t4():
    weights = tiny(1).state_dict()
    result = tiny(4).load_state_dict(weights, strict=False)
    assert not result.missing_keys
    assert not result.unexpected_keys


def test_initialization_of_the_stock_heads_survives():
    model = build('mask_rcnn_metaspike_coco')
    box = model.roi_head.bbox_head
    for layer in box.shared_fcs:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert torch.equal(layer.norm.weight, torch.ones_like(layer.norm.weight))
    assert box.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert box.fc_reg.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert model.rpn_head.rpn_cls.weight.std().item() == pytest.approx(0.01, rel=0.1)
    lateral = model.neck.lateral_convs[0].conv.weight
    assert lateral.abs().max().item() == pytest.approx((6 / (64 + 256)) ** 0.5, rel=0.01)
