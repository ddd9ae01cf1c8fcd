"""A small spiking YOLOX through mosaic, their end, the mean of weights, and all tools."""

import json
import pickle
import random
from pathlib import Path

import cli
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from mmspike.checkpoint import load_checkpoint_file
from mmspike.commands.energy import energy
from mmspike.commands.infer import infer
from mmspike.engine import load_config
from mmspike.errors import UserError
from mmspike.neurons import LIF

from .conftest import ROOT, arguments

pytest.importorskip('mmdet', reason='YOLOX is a model of mmdet')
YOLOX = Path(__file__).with_name('tiny_yolox.py')
NO_RESIZE = 'model.data_preprocessor.batch_augments=None'


@pytest.fixture(scope='module')
def run(shapes, tmp_path_factory):
    """The runner of a whole training, and its folder."""
    work_dir = tmp_path_factory.mktemp('yolox')
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        from mmdet.datasets.transforms import Mosaic

        transform = Mosaic.transform
        patch.setattr(Mosaic, 'transform', lambda *a: seen.append(1) or transform(*a))
        runner = cli.train(arguments(shapes, work_dir, NO_RESIZE, config=YOLOX))
    return runner, work_dir, len(seen)


def weights(file, key='state_dict'):
    return load_checkpoint_file(file)[key]


def logged(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}').data[0].tolist()


def test_mosaic_closes_and_the_l1_loss_opens_for_the_last_epochs(run):
    runner, _, mosaics = run
    # mmdet's hook closes one epoch before the last two: 4 - 2 - 1.
    assert runner.model.bbox_head.use_l1
    assert 'Mosaic' in runner.train_dataloader.dataset._skip_type_keys
    assert mosaics == 6 + 3, 'of two epochs of three pictures, and of the sheet that is drawn first'
    assert (len(logged(runner, 'loss')), len(logged(runner, 'loss_l1'))) == (12, 9)
    assert runner.train_dataloader.dataset.dataset.metainfo['classes'] == (
        *('circle', 'rectangle', 'triangle'),
    )


def test_what_is_saved_and_tested_is_the_mean_of_the_weights(run, shapes, tmp_path, monkeypatch):
    _, work_dir, _ = run
    mean = weights(work_dir / 'epoch_4.pth')
    last = weights(work_dir / 'epoch_4.pth', 'ema_state_dict')
    name = 'bbox_head.multi_level_conv_reg.0.weight'
    assert not torch.equal(mean[name], last[f'module.{name}'])
    buffer = 'neck.out_convs.0.bn.running_mean'
    assert not torch.equal(mean[buffer], last[f'module.{buffer}'])
    monkeypatch.setattr(Runner, 'test', lambda self: self.load_or_resume() or self)
    argv = arguments(shapes, tmp_path)
    runner = cli.test([str(YOLOX), str(work_dir / 'epoch_4.pth'), *argv])
    assert torch.equal(runner.model.state_dict()[name], mean[name])


def test_killed_in_the_closing_epochs_it_ends_with_the_same_weights(run, shapes, tmp_path):
    _, work_dir, _ = run
    flags = ['--resume', str(work_dir / 'epoch_3.pth')]
    runner = cli.train(arguments(shapes, tmp_path, NO_RESIZE, config=YOLOX, flags=flags))
    assert runner.model.bbox_head.use_l1
    assert 'Mosaic' in runner.train_dataloader.dataset._skip_type_keys
    for key in ('state_dict', 'ema_state_dict'):
        mine, other = (weights(d / 'epoch_4.pth', key) for d in (tmp_path, work_dir))
        assert mine.keys() == other.keys()
        assert [k for k in mine if not torch.equal(mine[k], other[k])] == []


@pytest.mark.parametrize(
    'option', ['model.backbone.time_steps=4', 'model.backbone.neuron.type=ReLU']
)
def test_four_steps_and_the_ann_twin_train_with_the_mean_too(shapes, tmp_path, option):
    """With pictures of other sizes from one iteration to the next."""
    short = ['train_cfg.max_epochs=1', 'param_scheduler.0.end=1']
    runner = cli.train(arguments(shapes, tmp_path, option, *short, config=YOLOX))
    (ema,) = (hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    spiking = [m.time_steps for m in ema.ema_model.modules() if isinstance(m, LIF)]
    assert set(spiking) == ({4} if 'time_steps' in option else set())


def scores_of(run, shapes, folder, *flags):
    out = folder / 'found.pkl'
    argv = arguments(shapes, folder, flags=[*flags, '--out', str(out)])
    metrics = cli.test([str(YOLOX), str(run[1] / 'epoch_4.pth'), *argv])
    assert 'coco/bbox_mAP_50' in metrics
    samples = pickle.loads(out.read_bytes())
    return torch.cat([sample['pred_instances']['scores'] for sample in samples])


@pytest.mark.parametrize('form', ['spike', 'fast'])
def test_the_merged_model_finds_the_same(run, shapes, tmp_path, form):
    plain, merged = (scores_of(run, shapes, tmp_path, *f) for f in ([], ['--deploy', form]))
    assert len(plain) > 100
    assert merged.sum().item() == pytest.approx(plain.sum().item(), rel=1e-2)


def test_flipped_views_are_merged(run, shapes, tmp_path):
    assert len(scores_of(run, shapes, tmp_path, '--tta')) > 0


def test_pictures_and_energy(run, shapes, tmp_path):
    _, work_dir, _ = run
    checkpoint = str(work_dir / 'epoch_4.pth')
    config = tmp_path / 'own.py'
    config.write_text(f"_base_ = '{YOLOX}'\nwork_dir = '{tmp_path}'")
    infer([str(config), checkpoint, str(shapes / 'val'), '--out-dir', str(tmp_path / 'out')])
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 5
    found = energy([str(config), '--size', '64', '--out-dir', str(tmp_path / 'energy')])
    assert found


# What goes wrong.


def test_pictures_of_no_multiple_of_32_without_padding(shapes, tmp_path):
    options = [
        *('model.data_preprocessor.pad_size_divisor=1', NO_RESIZE),
        'train_dataloader.dataset.pipeline.5.scale=(72,72)',
        'custom_hooks.3.num_last_epochs=9',
    ]
    with pytest.raises(UserError, match=r'72x72.*multiple of 32.*pad_size_divisor=32'):
        cli.train(arguments(shapes, tmp_path, *options, config=YOLOX))


def test_wrong_strides(shapes, tmp_path):
    option = 'model.bbox_head.strides=(4,8,16)'
    with pytest.raises(UserError, match=r'bbox_head is told the strides \(4, 8, 16\), but'):
        cli.train(arguments(shapes, tmp_path, option, config=YOLOX))


def test_mosaic_of_one_picture_and_of_pictures_without_objects(own_shapes, tmp_path):
    """One picture four times over; a batch without an object has a loss of the background alone."""
    file = own_shapes / 'annotations/instances_train.json'
    told = json.loads(file.read_text())
    one = told['annotations'][0]
    told['annotations'] = [one]
    file.write_text(json.dumps(told))
    short = ['train_cfg.max_epochs=1', 'param_scheduler.0.end=1']
    runner = cli.train(arguments(own_shapes, tmp_path / 'empty', *short, config=YOLOX))
    assert 0 in logged(runner, 'loss_bbox')
    told['images'] = [image for image in told['images'] if image['id'] == one['image_id']]
    file.write_text(json.dumps(told))
    options = [*short, 'train_dataloader.batch_size=1']
    runner = cli.train(arguments(own_shapes, tmp_path / 'one', *options, config=YOLOX))
    assert runner.iter == 1


def test_boxes_of_zero_area_after_mosaic_are_left_out(shapes):
    """The step of the COCO pipeline that does so leaves none; without it there are some."""
    shipped = Config.fromfile(ROOT / 'configs/yolox_metaspike_t1_coco.py').mix_pipeline
    (step,) = (step for step in shipped if step.type == 'FilterAnnotations')
    config = load_config(YOLOX, {'data_root': f'{shapes}/'})
    dataset = config.train_dataloader.dataset
    assert [s.type for s in dataset.pipeline] == [s.type for s in shipped]
    dataset.pipeline[-2] = step
    np.random.seed(0), random.seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dataset)
        least = []
        for _ in range(2):
            boxes = torch.cat(
                [dataset[i % 6]['data_samples'].gt_instances.bboxes.tensor for i in range(60)]
            )
            least.append((boxes[:, 2:] - boxes[:, :2]).min().item())
            del dataset.pipeline[-2], dataset.pipeline_types[-2]
    assert least[0] > 1 > least[1]


def test_data_is_checked_through_the_wrapper(own_shapes, tmp_path):
    picture = next((own_shapes / 'train').iterdir())
    picture.write_bytes(b'')
    with pytest.raises(UserError, match=f'{picture.name}.* is empty'):
        cli.train(arguments(own_shapes, tmp_path, config=YOLOX))
