"""What the tools choose by the length of a run, and mixed precision in testing."""

from pathlib import Path

import cli
import pytest
import torch
from mmengine.runner import Runner

from mmspike.hooks import compile_neurons_hook as compiling
from mmspike.neurons import LIF

from .conftest import ROOT, arguments
from .test_bad_input import refusal

pytestmark = pytest.mark.slow

pytest.importorskip('mmseg', reason='a model of mmseg')
CONFIG = ROOT / 'configs' / 'semantic_fpn_metaspike-tiny_t1_shapes.py'
DETECTOR = Path(__file__).with_name('tiny_mask_rcnn.py')
SMALL = [
    'test_dataloader.batch_size=1',
    'model.backbone.time_steps=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
]


def choices(runner):
    return {m.backend for m in runner.model.modules() if isinstance(m, LIF)}


@pytest.mark.parametrize('iterations, chosen', [(3, {'auto'}), (500, {'inductor'})])
def test_training(shapes, tmp_path, monkeypatch, iterations, chosen):
    monkeypatch.setattr(compiling, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(Runner, 'train', lambda self: self.call_hook('before_run'))
    options = [*SMALL, f'train_cfg.max_iters={iterations}']
    assert choices(cli.train(arguments(shapes, tmp_path, *options, config=CONFIG))) == chosen


@pytest.fixture(scope='module')
def checkpoint(shapes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('untrained')
    cli.train(
        arguments(
            shapes,
            work_dir,
            *SMALL,
            'train_cfg.max_iters=2',
            'train_cfg.val_interval=2',
            'default_hooks.checkpoint.interval=2',
            config=CONFIG,
        )
    )
    return work_dir / 'iter_2.pth'


@pytest.mark.parametrize('threshold, chosen', [(5, {'inductor'}), (6, {'auto'})])
def test_testing(shapes, checkpoint, tmp_path, monkeypatch, threshold, chosen):
    """The generated shapes have five images to test on."""
    monkeypatch.setattr(compiling, 'LONG_RUN', threshold)
    monkeypatch.setattr(compiling, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(Runner, 'test', lambda self: self.call_hook('before_run') or self)
    argv = arguments(shapes, tmp_path, *SMALL)
    assert choices(cli.test([str(CONFIG), str(checkpoint), *argv])) == chosen


@pytest.mark.parametrize('flags, dtype', [((), torch.float32), (('--amp',), torch.bfloat16)])
def test_mixed_precision(shapes, checkpoint, tmp_path, monkeypatch, flags, dtype):
    if torch.cuda.is_available():
        dtype = torch.float16 if flags else dtype
    seen = set()
    forward = LIF.forward
    monkeypatch.setattr(LIF, 'forward', lambda self, x: seen.add(x.dtype) or forward(self, x))
    argv = arguments(shapes, tmp_path, *SMALL)
    metrics = cli.test([str(CONFIG), str(checkpoint), *flags, *argv])
    assert 0 <= metrics['mIoU'] <= 100
    assert dtype in seen


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU has the operators in half precision')
def test_mixed_precision_of_a_detector_on_a_cpu(shapes, trained, tmp_path):
    argv = arguments(shapes, tmp_path, flags=['--amp'])
    sentence = refusal(cli.test, DETECTOR, trained, *argv)
    assert sentence.startswith('--amp was given for a detector on a CPU')


def test_training_curves_with_and_without_compilation_coincide(shapes, tmp_path):
    """With SGD, as AdamW divides by the size of a gradient and so shows one bit of it."""
    curves = {}
    for backend in ('torch', 'auto'):
        options = [
            *SMALL,
            f'model.backbone.neuron.backend={backend}',
            'optim_wrapper.optimizer._delete_=True',
            'optim_wrapper.optimizer.type=SGD',
            'optim_wrapper.optimizer.lr=0.1',
            'train_dataloader.batch_size=2',
            'train_cfg.max_iters=8',
            'train_cfg.val_interval=8',
            'default_hooks.checkpoint.interval=8',
        ]
        work_dir = tmp_path / backend
        runner = cli.train(arguments(shapes, work_dir, *options, config=CONFIG))
        curves[backend] = torch.tensor(runner.message_hub.get_scalar('train/loss').data[0])
    assert len(curves['auto']) == 8 and curves['auto'][-1] < curves['auto'][0]
    torch.testing.assert_close(curves['auto'], curves['torch'], rtol=1e-3, atol=0)
