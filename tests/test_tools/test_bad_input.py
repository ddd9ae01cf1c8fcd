"""Whatever a user can get wrong is answered with one sentence."""

import io
import os
import subprocess
import sys

import cli
import numpy as np
import pytest
import torch
from PIL import Image

from mmspike.engine import UserError, load_checkpoint_file

from .conftest import CONFIG, ROOT, arguments

pytestmark = pytest.mark.slow


def refusal(tool, *argv):
    """Run a tool and return the sentence with which it refuses."""
    with pytest.raises(UserError) as caught:
        tool([str(item) for item in argv])
    sentence = caught.value.sentence
    assert sentence.count('\n') == 0 and sentence.endswith('.')
    return sentence


def refused_training(shapes, tmp_path, *options, flags=()):
    return refusal(
        cli.train, *arguments(shapes, tmp_path / 'work', *options, config=CONFIG, flags=flags)
    )


def refused_test(shapes, tmp_path, checkpoint, *options, flags=()):
    return refusal(
        cli.test, CONFIG, checkpoint, *arguments(shapes, tmp_path / 'work', *options, flags=flags)
    )


def replace(path, content):
    path.write_bytes(content)
    return path


def test_sentence_alone_and_exit_code_1(tmp_path, environment):
    pytest.importorskip('mmdet', reason='the config needs mmdet')
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / 'tools' / 'train.py'),
            *arguments(tmp_path / 'nowhere', tmp_path, config=CONFIG),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: Data folder '{tmp_path}/nowhere")
    assert 'Traceback' not in done.stderr


def test_other_errors_keep_their_traceback():
    with pytest.raises(KeyError):
        cli.run_tool(lambda: {}['bug'])


def test_missing_config(tmp_path):
    assert "'nowhere.py' is not there" in refusal(cli.train, 'nowhere.py')


def test_data_root_without_annotations(own_shapes, tmp_path):
    path = own_shapes / 'annotations' / 'instances_train.json'
    path.unlink()
    sentence = refused_training(own_shapes, tmp_path)
    assert f"Annotation file '{path}' is not there" in sentence
    assert '--cfg-options data_root=' in sentence


def test_annotations_name_a_missing_image(own_shapes, tmp_path):
    path = own_shapes / 'val' / '000002.png'
    path.unlink()
    assert f"name '{path}', which is not there (1 of 5" in refused_training(own_shapes, tmp_path)


def test_empty_image(own_shapes, tmp_path, trained):
    path = replace(own_shapes / 'val' / '000003.png', b'')
    # With the stock loader, which would fail in the middle of the run.
    loader = 'test_dataloader.dataset.pipeline.0.type=LoadImageFromFile'
    assert f"'{path}' is empty (0 bytes)" in refused_test(own_shapes, tmp_path, trained, loader)


@pytest.mark.parametrize('workers', [0, 1])
def test_truncated_image(own_shapes, tmp_path, trained, workers):
    path = own_shapes / 'val' / '000003.png'
    replace(path, path.read_bytes()[:-2000])
    sentence = refused_test(own_shapes, tmp_path, trained, f'test_dataloader.num_workers={workers}')
    assert sentence.startswith(f"'{path}' is truncated after {path.stat().st_size} bytes")


def test_truncated_jpeg_that_the_decoder_would_fill_with_grey(own_shapes, tmp_path, trained):
    path = own_shapes / 'val' / '000001.png'
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, 'jpeg')
    replace(path, buffer.getvalue()[:-1000])
    assert 'is truncated' in refused_test(own_shapes, tmp_path, trained)


def test_non_finite_loss(shapes, tmp_path):
    sentence = refused_training(shapes, tmp_path, 'model.rpn_head.loss_bbox.loss_weight=nan')
    assert sentence.startswith('loss_rpn_bbox is nan at iteration 1 (epoch 1, 1/3)')
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_missing_checkpoint(shapes, tmp_path):
    assert "'no.pth' is not there" in refused_test(shapes, tmp_path, 'no.pth')


@pytest.mark.parametrize('share', [0.1, 0.9])
def test_truncated_checkpoint(shapes, tmp_path, trained, share):
    whole = trained.read_bytes()
    path = replace(tmp_path / 'cut.pth', whole[: int(share * len(whole))])
    assert 'is damaged or was cut short' in refused_test(shapes, tmp_path, path)
    sentence = refused_training(shapes, tmp_path, flags=['--resume', str(path)])
    assert 'is damaged or was cut short' in sentence


def test_checkpoint_of_another_size(shapes, tmp_path, trained):
    sentence = refused_test(shapes, tmp_path, trained, 'model.roi_head.bbox_head.num_classes=4')
    assert 'roi_head.bbox_head.fc_cls.weight is (4, 16) there and (5, 16) in the config' in sentence


def test_checkpoint_of_another_depth(shapes, tmp_path, trained):
    sentence = refused_test(shapes, tmp_path, trained, 'model.roi_head.mask_head.num_convs=2')
    assert 'lacks roi_head.mask_head.convs.1.conv.weight' in sentence


def test_not_a_checkpoint(shapes, tmp_path):
    path = replace(tmp_path / 'text.pth', b'hello world')
    assert 'is not a PyTorch checkpoint' in refused_test(shapes, tmp_path, path)


class Malicious:
    """Creates a file when it is unpickled without protection."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('where', ['test', 'resume', 'load_from', 'init_cfg'])
def test_checkpoint_that_would_run_code(shapes, tmp_path, where):
    path, harm = tmp_path / 'evil.pth', tmp_path / 'harm'
    torch.save({'state_dict': {}, 'meta': Malicious(harm)}, path)
    if where == 'test':
        sentence = refused_test(shapes, tmp_path, path)
    elif where == 'resume':
        sentence = refused_training(shapes, tmp_path, flags=['--resume', str(path)])
    else:
        key = dict(load_from='load_from', init_cfg='model.backbone.init_cfg.checkpoint')[where]
        kind = ['model.backbone.init_cfg.type=Pretrained'] if where == 'init_cfg' else []
        sentence = refused_training(shapes, tmp_path, f'{key}={path}', *kind)
    assert f"'{path}' asks for posix.mkdir to be run" in sentence
    assert not harm.exists()


def test_resume_from_weights_alone(shapes, tmp_path, trained):
    weights = load_checkpoint_file(trained)['state_dict']
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': weights}, path)
    assert "has no 'meta'" in refused_training(shapes, tmp_path, flags=['--resume', str(path)])


def test_amp_without_gpu(shapes, tmp_path):
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    assert '--amp needs a GPU' in refused_training(shapes, tmp_path, flags=['--amp'])


def test_launcher_without_torchrun(shapes, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    sentence = refused_training(shapes, tmp_path, flags=['--launcher', 'pytorch'])
    assert 'tools/dist_train.sh' in sentence


def test_a_detector_of_other_classes(shapes, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{CONFIG}'\ncustom_hooks = [dict(type='NumClassCheckHook')]")
    argv = arguments(
        shapes, tmp_path / 'work', 'model.roi_head.bbox_head.num_classes=4', config=config
    )
    sentence = refusal(cli.train, *argv)
    assert 'the classes of the model and of train_dataloader differ' in sentence
    assert '(4) in' in sentence and 'set num_classes of every bbox_head and mask_head' in sentence


def test_out_that_is_no_pickle(shapes, tmp_path, trained):
    assert '.pkl' in refused_test(shapes, tmp_path, trained, flags=['--out', 'results.json'])


def test_tta_of_masks(shapes, tmp_path, trained):
    assert 'no masks' in refused_test(shapes, tmp_path, trained, flags=['--tta'])


@pytest.mark.parametrize(
    'option, sentence',
    [
        ('model.backbon.depth=50', 'MaskRCNN takes no argument backbon (did you mean backbone?)'),
        (
            'train_cfg.max_epoch=1',
            'EpochBasedTrainLoop takes no argument max_epoch (did you mean m',
        ),
        ('train_dataloader.batchsize=1', 'DataLoader takes no argument batchsize (did you mean b'),
        ('optim_wrapper.clipgrad=1', 'takes no argument clipgrad (did you mean clip_grad?)'),
        ('optim_wrapper.optimizer.lrr=1', 'AdamW takes no argument lrr (did you mean lr?)'),
        ('optim_wrapper.type=OptimWraper', "the type 'OptimWraper' is not in the registry"),
    ],
)
def test_misspelt_arguments_and_types(shapes, tmp_path, option, sentence):
    assert sentence in refused_training(shapes, tmp_path, option)


@pytest.mark.parametrize(
    'option, sentence',
    [
        ('train_dataloader.batch_size=0', 'is 0, but a whole number from 1 was expected'),
        ('val_evaluator.metric=mAP', 'CocoMetric refuses what the config gives it (metric should'),
        ('optim_wrapper.optimizer.betas=[2,3]', 'AdamW refuses what the config gives it (Invalid'),
        ('optim_wrapper.optimizer.lr=-1', 'AdamW refuses what the config gives it (Invalid learn'),
        ('optim_wrapper.optimizer.lr=fast', "AdamW refuses what the config gives it ('<=' not sup"),
        ('optim_wrapper.accumulative_counts=0', 'OptimWrapper refuses what the config gives it'),
        ('train_dataloader.num_workers=-1', 'DataLoader refuses what the config gives it (num_wo'),
    ],
)
def test_values_that_are_refused(shapes, tmp_path, option, sentence):
    assert sentence in refused_training(shapes, tmp_path, option)


def test_misspelt_arguments_in_testing(shapes, tmp_path, trained):
    options = 'test_dataloader.dataset.lazy_innit=True', 'test_evaluator.metrc=bbox'
    for option, name in zip(options, ('lazy_init', 'metric'), strict=True):
        assert f'(did you mean {name}' in refused_test(shapes, tmp_path, trained, option)
