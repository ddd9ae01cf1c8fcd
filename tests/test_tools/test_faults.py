"""What a run survives: kill -9, a full disk, the death of another process."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cli
import pytest
import torch

from mmspike.checkpoint import latest_checkpoint
from mmspike.engine import load_checkpoint_file
from mmspike.errors import UserError
from mmspike.hooks.whole_checkpoint_hook import WholeFileBackend

from .conftest import ROOT, arguments
from .test_bad_input import refusal

pytestmark = pytest.mark.slow

DETECTOR = ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
SEGMENTOR = ROOT / 'configs' / 'semantic_fpn_metaspike-tiny_t1_shapes.py'
NARROW = [
    'model.backbone.arch.dims=[8,8,8,8,8]',
    'model.backbone.arch.depths=[1,1,1,1,1]',
    'model.neck.out_channels=8',
    'model.backbone.time_steps=2',
    'train_dataloader.batch_size=2',
    'val_dataloader.num_workers=0',
]
NARROW_PARTS = {
    DETECTOR: [
        *('model.neck.in_channels=[8,8,8,8]', 'model.rpn_head.in_channels=8'),
        'model.rpn_head.feat_channels=8',
        *(f'model.roi_head.{kind}_roi_extractor.out_channels=8' for kind in ('bbox', 'mask')),
        *('model.roi_head.bbox_head.in_channels=8', 'model.roi_head.bbox_head.fc_out_channels=8'),
        *('model.roi_head.mask_head.in_channels=8', 'model.roi_head.mask_head.conv_out_channels=8'),
        *('model.train_cfg.rpn_proposal.max_per_img=20', 'model.train_cfg.rcnn.sampler.num=8'),
        'model.test_cfg.rpn.max_per_img=20',
    ],
    SEGMENTOR: [
        *('model.neck.in_channels=[8,8,8,8]', 'model.decode_head.in_channels=[8,8,8,8]'),
        'model.decode_head.channels=8',
    ],
}
BY_EPOCH = ['train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'default_hooks.logger.interval=1']
BY_ITERATION = [
    'train_cfg.max_iters=5',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
]
WORKERS = ['train_dataloader.num_workers=2']
ALONE = ['train_dataloader.num_workers=0']
KINDS = {
    'epochs, workers': (DETECTOR, [*BY_EPOCH, *WORKERS], 'epoch_2.pth'),
    'epochs, no workers': (DETECTOR, [*BY_EPOCH, *ALONE], 'epoch_2.pth'),
    'iterations, workers': (SEGMENTOR, [*BY_ITERATION, *WORKERS], 'iter_5.pth'),
    'iterations, no workers': (SEGMENTOR, [*BY_ITERATION, *ALONE], 'iter_5.pth'),
}


@pytest.fixture(scope='module', autouse=True)
def libraries():
    pytest.importorskip('mmdet', reason='a detector is trained')
    pytest.importorskip('mmseg', reason='a segmentor is trained')


def argv_of(kind, shapes, work_dir, *options, flags=()):
    config, own, _ = KINDS[kind]
    options = [*NARROW, *NARROW_PARTS[config], *own, *options]
    return arguments(shapes, work_dir, *options, config=config, flags=flags)


def start(shapes, work_dir, kind, environment):
    argv = argv_of(kind, shapes, work_dir)
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'tools' / 'train.py'), *argv],
        env={**environment, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process):
    """Kill -9, the loader's processes too."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def weights(work_dir, kind):
    return load_checkpoint_file(work_dir / KINDS[kind][2])['state_dict']


@pytest.fixture(scope='module')
def whole(shapes, tmp_path_factory):
    """The weights of runs that nothing interrupted, each run once."""
    found = {}

    def get(kind):
        if kind not in found:
            work_dir = tmp_path_factory.mktemp('whole')
            cli.train(argv_of(kind, shapes, work_dir))
            found[kind] = weights(work_dir, kind)
        return found[kind]

    return get


def assert_equal(mine, other):
    assert mine.keys() == other.keys()
    assert [name for name in mine if not torch.equal(mine[name], other[name])] == []


@pytest.mark.parametrize('kind', KINDS)
def test_killed_and_resumed_it_ends_with_the_same_weights(
    shapes, whole, tmp_path, environment, kind
):
    """Killed in the iteration after the checkpoint in the middle, validation between included."""
    noted = tmp_path / 'last_checkpoint'
    process = start(shapes, tmp_path, kind, environment)
    for line in process.stdout:
        if noted.is_file() and ' ETA ' in line:
            break
    kill(process)
    assert not (tmp_path / KINDS[kind][2]).exists(), 'it was killed too late'
    # A process that has drawn other numbers before.
    random.seed(7), torch.manual_seed(7)
    cli.train(argv_of(kind, shapes, tmp_path, flags=['--resume']))
    assert_equal(weights(tmp_path, kind), whole(kind))


def test_the_same_seed_gives_the_same_run_and_another_one_another(shapes, whole, tmp_path):
    kind = 'epochs, no workers'
    for seed, same in ((0, True), (1, False)):
        work_dir = tmp_path / str(seed)
        cli.train(argv_of(kind, shapes, work_dir, f'randomness.seed={seed}'))
        mine, other = weights(work_dir, kind), whole(kind)
        name = 'backbone.downsamplings.0.conv.weight'
        assert torch.equal(mine[name], other[name]) == same
        if same:
            assert_equal(mine, other)


def test_epochs_draw_other_numbers(shapes, tmp_path, monkeypatch):
    """Seeding every epoch must not show the same flips again."""
    from mmspike.hooks.repeatable_run_hook import EPOCH, STEP, seed_all

    drawn = set()
    for kind in (EPOCH, STEP):
        for count in range(3):
            seed_all(0, kind, count)
            drawn.add((random.random(), torch.rand(()).item()))
    assert len(drawn) == 6


class TestWriting:
    """A checkpoint is there whole or not at all."""

    @pytest.mark.parametrize('before', [None, b'old'])
    def test_killed_while_writing(self, tmp_path, before):
        """The process dies when half of the bytes are out."""
        file = tmp_path / 'epoch_2.pth'
        if before:
            file.write_bytes(before)
        code = (
            'import os, sys, io\n'
            'from mmspike.hooks import whole_checkpoint_hook as hook\n'
            'def die(*args): os.kill(os.getpid(), 9)\n'
            'hook.os.fsync = die\n'
            f'hook.WholeFileBackend().put(b"x" * 100000, {str(file)!r})\n'
        )
        done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        assert (file.read_bytes() if file.exists() else None) == before

    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path):
        file = tmp_path / 'epoch_2.pth'
        file.write_bytes(b'old')
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OSError):
                WholeFileBackend().put(b'x' * 100000, file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [f.name for f in tmp_path.iterdir()] == ['epoch_2.pth']
        assert file.read_bytes() == b'old'

    def test_full_disk_ends_training_in_one_sentence(self, shapes, tmp_path, monkeypatch):
        kind = 'epochs, no workers'
        put = WholeFileBackend.put

        def full(self, obj, filepath):
            if 'epoch_2' in str(filepath):
                raise OSError(28, 'No space left on device')
            put(self, obj, filepath)

        monkeypatch.setattr(WholeFileBackend, 'put', full)
        keep_one = 'default_hooks.checkpoint.max_keep_ckpts=1'
        sentence = refusal(cli.train, *argv_of(kind, shapes, tmp_path, keep_one))
        assert sentence == (
            f"Checkpoint '{tmp_path}/epoch_2.pth' could not be written (No space left on device); "
            'the older ones are as they were: make room, then go on with --resume.'
        )
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')
        assert load_checkpoint_file(tmp_path / 'epoch_1.pth')['meta']['epoch'] == 1
        monkeypatch.undo()
        cli.train(argv_of(kind, shapes, tmp_path, keep_one, flags=['--resume']))
        assert [f.name for f in tmp_path.glob('*.pth')] == ['epoch_2.pth'], 'of which one is kept'


class TestLatest:
    """``--resume`` finds the last whole checkpoint."""

    @pytest.fixture
    def folder(self, tmp_path, trained):
        for number in (1, 2, 10):
            shutil.copy(trained, tmp_path / f'epoch_{number}.pth')
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_10.pth'))
        return tmp_path

    def cut(self, file):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    def test_the_noted_one(self, folder):
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
        assert latest_checkpoint(folder) == str(folder / 'epoch_2.pth')

    def test_the_noted_one_was_cut_short(self, folder):
        self.cut(folder / 'epoch_10.pth')
        assert latest_checkpoint(folder) == str(folder / 'epoch_2.pth')

    @pytest.mark.parametrize('text', ['', 'work_dirs/somewhere/else/epoch_1.pth'])
    def test_the_note_is_torn_or_of_another_folder(self, folder, text):
        (folder / 'last_checkpoint').write_text(text)
        assert latest_checkpoint(folder) == str(folder / 'epoch_10.pth')

    def test_nothing_is_whole(self, folder):
        for file in folder.glob('*.pth'):
            self.cut(file)
        with pytest.raises(UserError, match='--resume found no whole checkpoint'):
            latest_checkpoint(folder)

    def test_nothing_was_saved(self, tmp_path):
        assert latest_checkpoint(tmp_path) is None


def test_when_one_process_dies_the_other_ends(shapes, tmp_path, environment):
    """Killed in the middle of training; without an end of the other this would hang for ever."""
    options = [
        *NARROW,
        *NARROW_PARTS[DETECTOR],
        'train_cfg.max_epochs=500',
        'default_hooks.logger.interval=1',
        *ALONE,
    ]
    argv = arguments(shapes, tmp_path, *options, flags=['--launcher', 'pytorch'])
    process = subprocess.Popen(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
            *(str(ROOT / 'tools' / 'train.py'), str(DETECTOR), *argv),
        ],
        env={**environment, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if ' ETA ' in line:
                break
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        assert len(children) == 2, ''.join(said)
        start_of_wait = time.monotonic()
        os.kill(int(children[1]), signal.SIGKILL)
        rest = process.communicate(timeout=60)[0]
        assert process.returncode != 0
        assert time.monotonic() - start_of_wait < 60
        assert 'exitcode' in rest and '-9' in rest
    finally:
        if process.poll() is None:
            kill(process)
