"""Two hundred odd inputs: an answer of the right shape in finite numbers, or one clear sentence."""

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from threads import one_thread

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

pytest.importorskip('hypothesis', reason='the inputs are drawn by it')
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

CONFIGS = Path(__file__).parents[1] / 'configs'
ARCH = dict(dims=(8,) * 5, depths=(1,) * 5, heads=2)
STRIDES = (2, 4, 8, 16, 16)
BUDGET = 8_000  # Pixels of all images at all steps; the largest sizes are examples of their own.
NO_ROI = 10_000  # No proposal is as large.
LIBRARIES = dict(backbone=None, detector='mmdet', segmentor='mmseg', classifier='mmpretrain')
KINDS = [kind for kind, library in LIBRARIES.items() if library is None or find_spec(library)]
WIDTHS = dict(
    detector={
        'neck.in_channels': [8] * 4,
        'neck.out_channels': 8,
        'rpn_head.in_channels': 8,
        'rpn_head.feat_channels': 8,
        'roi_head.bbox_roi_extractor.out_channels': 8,
        'roi_head.mask_roi_extractor.out_channels': 8,
        'roi_head.bbox_head.in_channels': 8,
        'roi_head.bbox_head.fc_out_channels': 16,
        'roi_head.mask_head.in_channels': 8,
        'roi_head.mask_head.conv_out_channels': 8,
        'train_cfg.rpn_proposal.max_per_img': 20,
        'test_cfg.rpn.max_per_img': 20,
        'test_cfg.rcnn.score_thr': 0.0,
        'test_cfg.rcnn.max_per_img': 5,
    },
    segmentor={
        'neck.in_channels': [8] * 4,
        'neck.out_channels': 8,
        'decode_head.in_channels': [8] * 4,
        'decode_head.channels': 8,
        'data_preprocessor.size': None,
        'data_preprocessor.size_divisor': 1,  # Pads to the largest image alone.
    },
    classifier={'head.in_channels': 8},
)
FILES = dict(
    detector='mask_rcnn_metaspike-tiny_t1_shapes',
    segmentor='semantic_fpn_metaspike-tiny_t1_shapes',
    classifier='metaspike-tiny_t1_shapes',
)


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    with one_thread():
        yield


@functools.cache
def weights(kind):
    """The state of a lively model, from which every example starts."""
    return randomize_norms(build(kind, 1, False)).state_dict()


@functools.cache
def build(kind, time_steps, zero_rois):
    torch.manual_seed(0)
    if kind == 'backbone':
        return MetaSpikeFormer(ARCH, time_steps=time_steps)
    model = Config.fromfile(CONFIGS / f'{FILES[kind]}.py').model
    changes = {'backbone.arch': ARCH, 'backbone.time_steps': time_steps, **WIDTHS[kind]}
    if zero_rois:
        changes['test_cfg.rpn.min_bbox_size'] = NO_ROI
        changes['train_cfg.rpn_proposal.min_bbox_size'] = NO_ROI
    model = Config(dict(model=model))
    model.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with DefaultScope.overwrite_default_scope(LIBRARIES[kind]):
        return MODELS.build(model.model)


@st.composite
def odd_inputs(draw):
    """One input: what it is run through, how, and what is odd about it."""
    kind = draw(st.sampled_from(KINDS))
    time_steps, batch = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    sides = [draw(st.integers(1, 1000))]
    sides.append(draw(st.integers(1, max(1, min(1000, BUDGET // (sides[0] * time_steps * batch))))))
    refused = [(1, 'finite'), (4, 'finite'), (3, 'nan'), (3, 'inf')]
    channels, pixels = draw(st.sampled_from([(3, 'finite')] * 6 + refused))
    return dict(
        kind=kind,
        time_steps=time_steps,
        batch=batch,
        size=tuple(draw(st.permutations(sides))),
        train=draw(st.booleans()),
        channels=channels,
        pixels=pixels,
        truth=draw(st.sampled_from(('objects', 'none', 'crowd'))),
        zero_rois=kind == 'detector' and draw(st.booleans()),
    )


def images(case, rng):
    """Images ``[C, H, W]`` of noise, the last with one bad pixel if that is the case."""
    size = case['channels'], *case['size']
    made = [torch.from_numpy(rng.integers(0, 256, size, np.uint8)) for _ in range(case['batch'])]
    if case['pixels'] != 'finite':
        made[-1] = made[-1].float()
        made[-1][(-1, *(int(rng.integers(n)) for n in case['size']))] = float(case['pixels'])
    return made


def objects(count, size, rng):
    from mmdet.structures.mask import BitmapMasks

    height, width = size
    corners = torch.from_numpy(rng.random((count, 2), np.float32)) * torch.tensor([width, height])
    masks = rng.integers(0, 2, (count, height, width), np.uint8)
    return InstanceData(
        bboxes=torch.cat([corners / 2, corners / 2 + torch.tensor([width, height]) / 2], dim=1),
        labels=torch.arange(count) % 3,
        masks=BitmapMasks(masks, height, width),
    )


def sample(case, rng):
    size, truth = case['size'], case['truth']
    keys = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    meta = dict.fromkeys(keys, size) | dict(img_id=0, scale_factor=(1.0, 1.0))
    if case['kind'] == 'detector':
        from mmdet.structures import DetDataSample

        made = DetDataSample(metainfo=meta)
        made.gt_instances = objects(2 * (truth == 'objects'), size, rng)
        made.ignored_instances = objects(2 * (truth == 'crowd'), size, rng)
    elif case['kind'] == 'segmentor':
        from mmseg.structures import SegDataSample

        labels = rng.integers(0, 4, (1, *size)) if truth == 'objects' else np.full((1, *size), 255)
        made = SegDataSample(metainfo=meta)
        made.gt_sem_seg = PixelData(data=torch.from_numpy(labels))
    else:
        from mmpretrain.structures import DataSample

        made = DataSample(metainfo=meta).set_gt_label(1)
    return made


def check_training(model, data):
    """Losses, gradients and what the norms keep are finite."""
    if isinstance(data, torch.Tensor):
        total = sum(out.mean() for out in model(data))
    else:
        losses = model(**model.data_preprocessor(data, training=True), mode='loss')
        total = model.parse_losses(losses)[0]
    total.backward()
    state = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    state |= dict(model.named_buffers(), loss=total)
    assert [name for name, value in state.items() if not value.isfinite().all()] == []


@torch.no_grad()
def check_answer(model, data, case):
    """There is an answer for each image, of its size."""
    size, batch = case['size'], case['batch']
    if case['kind'] == 'backbone':
        shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]
        for out, shape in zip(model(data), shapes, strict=True):
            assert out.shape == (batch * case['time_steps'], 8, *shape)
            assert out.isfinite().all()
        return
    answers = model.test_step(data)
    assert len(answers) == batch
    for answer in answers:
        if case['kind'] == 'detector':
            found = answer.pred_instances
            assert found.masks.shape == (len(found.bboxes), *size)
            assert found.scores.isfinite().all() and found.bboxes.isfinite().all()
            assert bool((found.bboxes >= 0).all()) and len(found.bboxes) <= 5
            assert bool((found.bboxes <= torch.tensor([*size[::-1]] * 2)).all())
            assert not (case['zero_rois'] and len(found.bboxes))
        elif case['kind'] == 'segmentor':
            assert answer.pred_sem_seg.data.shape == (1, *size)
            assert answer.seg_logits.data.shape == (4, *size)
            assert answer.seg_logits.data.isfinite().all()
        else:
            assert answer.pred_score.shape == (3,)
            assert answer.pred_score.sum().item() == pytest.approx(1)


def why_refused(case):
    """The words of the one sentence that is right here; None where an answer is due."""
    if case['channels'] != 3:
        return 'must be [', 'C = 3 channels'
    if case['pixels'] != 'finite':
        return f'has a pixel that is {case["pixels"]} (image {case["batch"] - 1}', 'finite numbers'
    return None


def check(case):
    model = build(case['kind'], case['time_steps'], case['zero_rois'])
    model.load_state_dict(weights(case['kind']))
    model.train(case['train']).zero_grad()
    rng = np.random.default_rng(0)
    data = images(case, rng)
    if case['kind'] == 'backbone':
        data = torch.stack([image.float() for image in data]) / 64 - 2
    else:
        data = dict(inputs=data, data_samples=[sample(case, rng) for _ in data])
    expected = why_refused(case)
    try:
        if case['train']:
            check_training(model, data)
        else:
            check_answer(model, data, case)
    except UserError as error:
        said = error.sentence
        assert '\n' not in said and said.endswith('.')
        height, width = case['size']
        # The smallest map behind the backbone, of stride 16; a detector pads to 32.
        least = case['time_steps'] * case['batch'] * -(-height // 16) * -(-width // 16)
        stem = case['batch'] * -(-height // 2) * -(-width // 2)  # Before the steps are repeated.
        if expected is None:
            expected = 'one value only to learn', 'larger batch'
            assert case['train'] and (least <= 4 or stem == 1), said
        assert all(words in said for words in expected), said
    else:
        assert expected is None, f'nothing was said of {case}'


@pytest.mark.slow
@settings(
    max_examples=196,  # And four large ones.
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(case=odd_inputs())
def test_an_answer_or_one_sentence(case):
    check(case)


@pytest.mark.parametrize('kind', KINDS)
def test_the_largest_image(kind):
    check(
        dict(
            kind=kind,
            time_steps=1,
            batch=1,
            size=(1000, 1000),
            train=False,
            channels=3,
            pixels='finite',
            truth='objects',
            zero_rois=False,
        )
    )
