"""mmspike's configs train the same under the libraries' own tools/train.py."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cli
import pytest
import torch

from mmspike.checkpoint import load_checkpoint_file
from mmspike.config import load_config
from mmspike.datasets.moving_shapes import generate_moving_shapes

from .conftest import ROOT, arguments
from .test_faults import DETECTOR, NARROW, NARROW_PARTS, SEGMENTOR, assert_equal

# The tools import torchvision, of which this machine may have no compiled part.
RUN = """
import runpy, sys
from mmspike.compat import make_torchvision_importable
from mmspike.process import use_cpu_well
make_torchvision_importable(), use_cpu_well()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
CASES = {
    'mmdet': (DETECTOR, ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2'], 'epoch_2.pth'),
    'mmseg': (
        SEGMENTOR,
        [
            'train_cfg.max_iters=4',
            'train_cfg.val_interval=4',
            'default_hooks.checkpoint.interval=4',
        ],
        'iter_4.pth',
    ),
    'mmpretrain': (
        ROOT / 'configs' / 'metaspike-tiny_t8_moving_shapes.py',
        ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2'],
        'epoch_2.pth',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('library', CASES)
def test_the_same_weights(library, shapes, tmp_path, environment):
    """Time steps and classes reach the transforms, and runs are seeded, by hooks of the config."""
    pytest.importorskip(library, reason='its tool trains')
    tool = Path(find_spec(library).origin).parent / '.mim' / 'tools' / 'train.py'
    if not tool.is_file():
        pytest.skip(f'{library} is installed without its tools')
    config, options, file = CASES[library]
    data = shapes
    if library == 'mmpretrain':
        data = generate_moving_shapes(tmp_path / 'moving', num_train=6, num_val=2)
    else:
        options = [*NARROW, *NARROW_PARTS[config], *options]
    workers = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    weights = []
    for folder in ('own', 'stock'):
        argv = arguments(data, tmp_path / folder, *options, *workers, config=config)
        if folder == 'own':
            cli.train(argv)
        else:
            # Paths that begin with data_root follow it under mmspike's tools alone.
            argv[0] = str(tmp_path / 'config.py')
            load_config(config, {'data_root': f'{data}/'}).dump(argv[0])
            argv.remove(f'data_root={data}')
            done = subprocess.run(
                [sys.executable, '-c', RUN, str(tool), *argv],
                env={**environment, 'OMP_NUM_THREADS': '1'},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        weights.append(load_checkpoint_file(tmp_path / folder / file)['state_dict'])
    assert_equal(*weights)
    assert torch.is_tensor(next(iter(weights[0].values())))
