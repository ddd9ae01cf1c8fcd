"""What a test pipeline does to picture and truth must be what models undo; all else is refused."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from mmspike.checks.data import dataset_configs
from mmspike.checks.frames import check_frames, check_pipeline
from mmspike.config import load_config
from mmspike.errors import UserError

ROOT = Path(__file__).parents[2]
LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='Resize', scale=(80, 60), keep_ratio=True)
PACK = dict(mmdet=dict(type='PackDetInputs'), mmseg=dict(type='PackSegInputs'))
TRUTH = dict(type='LoadAnnotations')
BOXES = dict(type='LoadAnnotations', with_bbox=True)
COCO = SimpleNamespace(_coco_api=None)
OTHER = SimpleNamespace()


@pytest.fixture
def check(tmp_path):
    """Check a pipeline of a library on a picture of 80x60 pixels."""
    drawn = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(drawn).save(tmp_path / 'a.png')
    Image.fromarray(drawn[..., 0] // 128).save(tmp_path / 'b.png')

    def run(library, pipeline, metric=OTHER):
        datasets = pytest.importorskip(f'{library}.datasets', reason='its pipelines are checked')
        stock = datasets.CocoDataset if library == 'mmdet' else datasets.BaseSegDataset
        info = dict(
            img_path=str(tmp_path / 'a.png'),
            img_id=1,
            height=60,
            width=80,
            seg_map_path=str(tmp_path / 'b.png'),
            label_map=None,
            reduce_zero_label=False,
            seg_fields=[],
            instances=[dict(bbox=[4, 5, 44, 35], bbox_label=0, ignore_flag=0)],
        )

        class Listed(stock):
            def __init__(self):
                self.pipeline = Compose(pipeline)

            def __len__(self):
                return 1

            def get_data_info(self, index):
                return dict(info)

        with DefaultScope.overwrite_default_scope(library):
            check_frames([Listed()], 'test', [metric])

    return run


FLIP = dict(type='RandomFlip', prob=0.01)
MOVING = [
    FLIP,
    dict(type='RandomFlip', prob=[0.3, 0.5], direction=['horizontal', 'vertical']),
    dict(type='RandomCrop', crop_size=(30, 40)),
    dict(type='RandomAffine'),
    dict(type='Rotate', prob=0.2, level=5),
    dict(type='RandomShift', prob=1.0),
    dict(type='Expand', prob=0.3),
]


@pytest.mark.parametrize('step', MOVING, ids=lambda step: step['type'])
@pytest.mark.parametrize('before', [[], [RESIZE]], ids=['first', 'resized'])
def test_steps_of_a_detector_that_move_the_picture(check, step, before):
    with pytest.raises(UserError) as caught:
        check('mmdet', [LOAD, *before, BOXES, step, PACK['mmdet']], COCO)
    assert caught.value.sentence == (
        f'{step["type"]} in the pipeline of test_dataloader moves the picture, and mmdet does not '
        'move predictions back; take it out, as flips and scales at test are for --tta.'
    )


CROP = dict(type='RandomCrop', crop_size=(30, 40))
PAD = dict(type='Pad', size=(200, 200))


@pytest.mark.parametrize('step', [CROP, PAD, dict(type='RandomRotate', prob=0.5, degree=30)])
def test_steps_of_a_segmentor_that_move_the_picture(check, step):
    with pytest.raises(UserError, match=f'{step["type"]} in the .* moves the picture, and mmseg'):
        check('mmseg', [LOAD, step, TRUTH, PACK['mmseg']])


def test_a_segmentor_flips_back_but_not_the_truth(check):
    check('mmseg', [LOAD, FLIP, RESIZE, TRUTH, PACK['mmseg']])
    with pytest.raises(UserError, match='RandomFlip in .* changes the truth, .* LoadAnnotations'):
        check('mmseg', [LOAD, TRUTH, FLIP, PACK['mmseg']])


@pytest.mark.parametrize('library, truth', [('mmdet', BOXES), ('mmseg', TRUTH)])
def test_truth_is_not_resized(check, library, truth):
    smaller = dict(type='Resize', scale=(40, 30))
    with pytest.raises(UserError, match='Resize in the .* changes the truth, .* put LoadAnn'):
        check(library, [LOAD, truth, smaller, PACK[library]])
    check(library, [LOAD, smaller, truth, PACK[library]])
    # COCO's metric reads its file.
    check(library, [LOAD, truth, smaller, PACK[library]], COCO)


UNDONE = [
    [
        dict(type='PhotoMetricDistortion'),
        dict(type='RandomResize', scale=(80, 60), ratio_range=(0.5, 2)),
    ],
    [dict(type='Resize', scale=(500, 300), keep_ratio=False), dict(type='YOLOXHSVRandomAug')],
    [RESIZE, dict(type='Pad', size=(300, 400), pad_val=dict(img=(255, 255, 255)))],
    [dict(type='RandomCenterCropPad', ratios=None, border=None, test_mode=True, mean=[0, 0, 0],
          std=[1, 1, 1], to_rgb=True, test_pad_mode=['logical_or', 31])],
    [dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=1.0)], [PACK['mmdet']]])],
]  # fmt: skip


@pytest.mark.parametrize('steps', UNDONE)
def test_steps_that_models_undo(check, steps):
    check('mmdet', [dict(LOAD, to_float32=len(steps) == 1), BOXES, *steps, PACK['mmdet']], COCO)


def test_the_numbers_of_the_run_stay(check):
    def state():
        return random.random(), np.random.random(), torch.rand(1).item()

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    first = state()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    check('mmdet', [LOAD, dict(type='RandomResize', scale=(80, 60), ratio_range=(0.5, 2))], COCO)
    assert state() == first


STOCK = dict(
    mmdet=('_base_/datasets/coco_instance.py', '_base_/datasets/voc0712.py', 'ssd/ssd300_coco.py',
           'yolox/yolox_s_8xb8-300e_coco.py', 'rtmdet/rtmdet_s_8xb32-300e_coco.py',
           'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py'),
    mmseg=('_base_/datasets/ade20k.py', '_base_/datasets/cityscapes.py', '_base_/datasets/isaid.py',
           'poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py',
           'san/san-vit-b16_voc12aug-640x640.py'),
)  # fmt: skip


def test_pipelines_of_the_configs(check):
    looked_at = 0
    for file in sorted(ROOT.glob('configs/*.py')):
        config = load_config(str(file))
        library = config.default_scope
        if library in STOCK:
            for dataset in dataset_configs(config.test_dataloader.dataset):
                check(library, dataset.pipeline, COCO if library == 'mmdet' else OTHER)
                looked_at += 1
    assert looked_at > 10


@pytest.mark.parametrize('library', STOCK)
def test_pipelines_of_the_libraries(check, library):
    module = pytest.importorskip(library, reason='its configs are checked')
    folder = Path(module.__file__).parent / '.mim/configs'
    if not folder.is_dir():
        pytest.skip(f'{library} brought no configs')
    for name in STOCK[library]:
        config = Config.fromfile(folder / name)
        for dataset in dataset_configs(config.test_dataloader.dataset):
            check(library, dataset.get('pipeline') or config.test_pipeline)


@pytest.mark.parametrize('library', STOCK)
def test_a_pipeline_that_inference_reads(library):
    pytest.importorskip(library, reason='its pipelines are checked')
    resize, flip = dict(type='Resize', scale=(80, 60)), dict(type='RandomFlip', prob=0.5)
    shift = dict(type='RandomCrop', crop_size=(30, 40))
    with DefaultScope.overwrite_default_scope(library):
        check_pipeline([resize, PACK[library]], library)
        with pytest.raises(UserError, match='moves the picture'):
            check_pipeline([resize, flip if library == 'mmdet' else shift, PACK[library]], library)
