"""What train and test show: few lines on the console, everything in the full log."""

import logging
import os
import re
import subprocess
import sys
import warnings
from collections import deque
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger, print_log

from mmspike.commands import console_log
from mmspike.commands.console_log import quiet_console, tabulate

from .conftest import CONFIG, ROOT, arguments

# Of mmengine, mmdet and pycocotools, in their own words.
NOTICES = (
    'OneDL',
    'faster_coco_eval',
    'FileClient',
    'HardDiskBackend',
    'annotations into memory',
    'index',
    'Average Precision',
    'Hooks will be executed',
    'System environment',
    'Exp name',
    'dict(',
)


def run(environment, tool, *argv):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), str(CONFIG), *argv],
        env={**environment, 'OMP_NUM_THREADS': '1', 'COLUMNS': '80'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def log_of(work_dir):
    (file,) = work_dir.glob('2*/*.log')
    return file, file.read_text()


@pytest.fixture(scope='module')
def shown(shapes, tmp_path_factory):
    """What training shows with an option that nothing reads, and its work dir."""
    work_dir = tmp_path_factory.mktemp('console')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    argv = arguments(shapes, work_dir, 'env_cfg.cudnn_benchmrk=True')
    return run(environment, 'train.py', *argv), work_dir


def test_console_of_training(shown, shapes):
    text, work_dir = shown
    file, log = log_of(work_dir)
    assert not [notice for notice in NOTICES if notice in text], text
    assert len(text.splitlines()) <= 22, text
    assert text.splitlines()[1].startswith('Training MaskRCNN (')
    for place in (f'{shapes}/annotations/instances_train.json', work_dir, file):
        assert re.search(rf'^  [\w ]+ .*{re.escape(str(place))}\b', text, re.MULTILINE), place
    lines = re.findall(r'^epoch 1/1  iter \d/3  loss .+$', text, re.MULTILINE)
    assert [line[16] for line in lines] == list('123')
    for line in lines:
        assert re.search(r'  lr 1\.00e-03  ETA 0:00:\d\d  [\d.]+ s/iter$', line)
        assert len(line) <= 80
    assert re.search(r'^Validation after epoch 1\n +mAP +mAP_50 .*\n bbox +0\.\d{3} ', text, re.M)
    assert re.search(r'^ segm +0\.\d{3} ', text, re.M)
    assert f'checkpoint  {work_dir}/epoch_1.pth' in text


def test_what_a_user_can_act_on_stays(shown):
    text, _ = shown
    assert text.startswith("WARNING: --cfg-options sets 'env_cfg.cudnn_benchmrk'"), text


def test_the_full_log_keeps_everything(shown):
    _, work_dir = shown
    log = log_of(work_dir)[1]
    assert 'optimizer=dict(lr=0.001' in log
    assert 'Hooks will be executed' in log
    assert len(re.findall(r'Epoch\(train\) .* loss: .* loss_mask: ', log)) == 3
    assert log.count('Average Precision') == 12
    assert 'creating index...' in log


def test_console_of_testing(shown, shapes, environment, tmp_path):
    checkpoint = str(shown[1] / 'epoch_1.pth')
    text = run(environment, 'test.py', checkpoint, *arguments(shapes, tmp_path))
    assert not [notice for notice in NOTICES if notice in text], text
    assert text.startswith('Testing MaskRCNN (')
    assert f'weights     {checkpoint}\n' in text
    assert re.search(r'^Test\n +mAP +mAP_50 .*\n bbox +0\.\d{3} ', text, re.MULTILINE)
    assert f'full log    {log_of(tmp_path)[0]}\n' in text
    assert 'checkpoint ' not in text

    argv = [checkpoint, *arguments(shapes, tmp_path / 'all', flags=['-v'])]
    text = run(environment, 'test.py', *argv)
    for part in ('optimizer=dict(lr=0.001', 'Hooks will be', 'Average Precision', '[5/5]'):
        assert part in text, part
    assert 'Testing MaskRCNN (' in text


@pytest.fixture
def say(capsys):
    """Write a line as a hook of mmengine does, and give what the console shows."""
    logger = MMLogger('console_log')
    runner = SimpleNamespace(max_epochs=12, iter=400)
    console_log._quiet(logger, console_log._Formatter(runner))

    def write(text, level=logging.INFO):
        logger.handlers[0].stream = sys.stdout  # Not that of the fixture's set-up.
        print_log(text, logger, level)
        out, err = capsys.readouterr()
        assert not err, err
        return out

    return write


@pytest.mark.parametrize(
    'line, shown',
    [
        (
            'Epoch(train)  [9][ 50/270]  base_lr: 1.0000e-04 lr: 2.0000e-05  eta: 1 day, 2:03:04  '
            'time: 0.4321  data_time: 0.0100  memory: 8123  loss: 1.2500  loss_mask: 0.5000',
            'epoch 9/12  iter  50/270  loss 1.2500  lr 2.00e-05  ETA 1 day, 2:03:04  0.432 s/iter  '
            '8123 MB',
        ),
        (
            'Iter(train) [  50/80000]  lr: 1.0000e-04  eta: 2:03:04  time: 0.4  data_time: 0.01  '
            'loss: 1.2500  firing_rate: 0.1234',
            'iter    50/80000  loss 1.2500  firing_rate 0.1234  lr 1.00e-04  ETA 2:03:04  '
            '0.4 s/iter',
        ),
        (
            'Epoch(val) [9][ 50/625]    eta: 0:03:04  time: 0.4000  data_time: 0.0100  ',
            'val  50/625  ETA 0:03:04  0.4 s/iter',
        ),
        (
            'Iter(val) [63/63]    aAcc: 95.1000  mIoU: 72.3000  data_time: 0.0100  time: 0.4000',
            'Validation after iteration 400\n    aAcc   mIoU\n   95.10  72.30',
        ),
        (
            'Epoch(test) [7/7]    accuracy/top1: 81.0000  single-label/recall: 80.0000  '
            'confusion_matrix/result: \ntensor([[1,  0],\n  [0,  1]])\n  time: 0.4000',
            'Test\n'
            '                top1  recall\n'
            ' accuracy      81.00\n'
            ' single-label          80.00',
        ),
        ('Exp name: mask_rcnn_20261126_202824', ''),
        ('Config:\nmodel = dict()', ''),
        ('resumed epoch: 3, iter: 9', 'resumed epoch: 3, iter: 9'),
        ('my step 3  loss: 4.0', 'my step 3  loss: 4.0'),
    ],
)
def test_lines_of_packages(say, line, shown):
    assert '\n'.join(map(str.rstrip, say(line).splitlines())) == shown


def test_warnings_in_the_log(say):
    assert say('"FileClient" will be deprecated in future. Please', logging.WARNING) == ''
    assert say('The model and loaded state dict do not match', logging.WARNING).startswith(
        'WARNING: The model and'
    )
    assert say('out of memory', logging.ERROR) == 'ERROR: out of memory\n'


def test_lines_of_a_hook_of_ones_own(capsys):
    logger = MMLogger('console_log')
    console_log._quiet(logger, console_log._Formatter())
    logger.handlers[0].stream = sys.stdout
    logger.info('my hook has %d things', 3)
    assert capsys.readouterr().out == 'my hook has 3 things\n'


def test_many_metrics_stand_below_each_other():
    table = tabulate({f'IoU/class {i}': f'{i}.5000' for i in range(9)})
    assert table.splitlines()[3] == ' IoU class 3   3.50'


def test_printed_and_warned_notices(capsys, recwarn):
    with quiet_console():
        print('creating index...')
        print('mine:', end=' ')
        print('creating index...')
        print('50 %', end='')
        warnings.warn('faster_coco_eval is not installed, says another', stacklevel=1)
        warnings.warn_explicit('faster_coco_eval is not installed', UserWarning, 'mmdet/x.py', 1)
    assert capsys.readouterr().out == 'mine: creating index...\n50 %'
    assert [str(w.message) for w in recwarn] == ['faster_coco_eval is not installed, says another']
    with quiet_console(verbose=True):
        print('creating index...')
    assert capsys.readouterr().out == 'creating index...\n'


def test_a_rank_without_a_log_file(monkeypatch, capsys):
    """What it would keep finds no file; building its logger must come to an end all the same."""

    class Base:
        def build_logger(self):
            return MMLogger.get_current_instance()

    monkeypatch.setattr(MMLogger, '_instance_dict', {'rank1': MMLogger('rank1')})
    monkeypatch.setattr(console_log, '_early', deque(maxlen=10))
    console_log._keep('creating index...')
    type('Quiet', (console_log._QuietRunner, Base), {})().build_logger()
    assert list(console_log._early) == ['creating index...']
    assert not capsys.readouterr().out
