"""Two CPU processes train the same weights and score as one process does."""

import pickle
import socket
import subprocess
import sys
from pathlib import Path

import cli
import pytest
import torch
from torch.distributed import init_process_group, is_initialized
from torch.nn.parallel import DistributedDataParallel

from mmspike.engine import load_checkpoint_file

from .conftest import CONFIG, ROOT, arguments

pytestmark = pytest.mark.slow

OURS = ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'


def test_ranks_hold_the_same_weights(shapes, tmp_path, environment):
    training = [
        'train_cfg.val_begin=9',  # No validation: training ends before.
        'custom_hooks=[]',  # The launcher must see to synchronous buffers by itself.
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2',
        'sync_bn=torch',  # For several GPUs; CPUs must go without.
    ]
    argv = arguments(shapes, tmp_path, *training, config=OURS, flags=['--launcher', 'pytorch'])
    worker = Path(__file__).with_name('distributed_worker.py')
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    subprocess.run(
        [*launcher, str(worker), str(tmp_path), *argv], env=environment, check=True, timeout=200
    )
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different
    # Each rank must have seen data of its own, or equal weights would prove nothing.
    saved = load_checkpoint_file(tmp_path / 'epoch_1.pth')
    assert saved['meta']['iter'] == 2  # ceil(6 images / 2 ranks / batches of 2)


@pytest.fixture(scope='module')
def spiking(shapes, tmp_path_factory):
    """A checkpoint of the shipped spiking Mask R-CNN, hardly trained."""
    work_dir = tmp_path_factory.mktemp('spiking')
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_begin=9', 'train_dataloader.batch_size=2']
    cli.train(arguments(shapes, work_dir, *options, config=OURS))
    return OURS, work_dir / 'epoch_1.pth'


@pytest.fixture(scope='module')
def stock(trained):
    return CONFIG, trained


@pytest.mark.parametrize('model', ['spiking', 'stock'])
def test_two_processes_score_as_one(shapes, model, tmp_path, environment, request):
    config, checkpoint = request.getfixturevalue(model)
    flags = ['--out', str(tmp_path / 'one.pkl')]
    metrics = cli.test(
        [str(config), str(checkpoint), *arguments(shapes, tmp_path / 'one', flags=flags)]
    )
    assert 'coco/bbox_mAP_50' in metrics
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    flags = ['--verbose', '--out', str(tmp_path / 'two.pkl')]
    done = subprocess.run(
        [
            'bash',
            str(ROOT / 'tools' / 'dist_test.sh'),
            str(config),
            str(checkpoint),
            '2',
            *arguments(shapes, tmp_path / 'two', flags=flags),
        ],
        env={**environment, 'PORT': port},
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, value in metrics.items():
        assert f'{name}: {value:.4f}' in done.stdout
    one, two = (pickle.loads((tmp_path / f'{name}.pkl').read_bytes()) for name in ('one', 'two'))
    assert [sample['img_id'] for sample in one] == [sample['img_id'] for sample in two]
    for mine, other in zip(one, two, strict=True):
        mine, other = mine['pred_instances'], other['pred_instances']
        assert len(mine['scores']) > 0
        assert torch.equal(mine['scores'], other['scores'])
        assert torch.equal(mine['bboxes'], other['bboxes'])
        assert mine['masks'] == other['masks']


def lose_the_other(*args):
    raise RuntimeError('Connection closed by peer')


@pytest.mark.parametrize('left_alone', [False, True])
def test_a_tool_ends_the_threads_of_the_group_of_processes(tmp_path, monkeypatch, left_alone):
    """One that lets go of a tensor while Python ends aborts the process, now and then."""
    if left_alone:
        monkeypatch.setattr('torch.distributed.barrier', lose_the_other)

    def main():
        init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
        model = DistributedDataParallel(torch.nn.Linear(2, 2))
        model.runner = {'model': model}  # mmengine's runners and hooks know each other.
        assert threads_of_gloo()

    cli.run_tool(main)
    assert not is_initialized()
    assert not threads_of_gloo()


def threads_of_gloo():
    names = [file.read_text() for file in Path('/proc/self/task').glob('*/comm')]
    return [name for name in names if 'gloo' in name]
