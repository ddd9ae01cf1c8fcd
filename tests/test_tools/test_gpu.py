"""tools/dev/gpu.py runs whole, tiny and on a CPU; what it finds on a GPU nobody can know here."""

import json
import sys

import numpy as np
import pytest
import torch

from mmspike.compat import make_torchvision_importable

from .conftest import ROOT

DRY_RUN = ('--device', 'cpu', '--dry-run')


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module; what it changes in the process is put back."""
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools' / 'dev'), *sys.path])
    for name in ('gpu', 'bare_machine'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import gpu

    yield gpu
    for name in ('gpu', 'bare_machine'):
        sys.modules.pop(name, None)


def steps(folder):
    """What was written down of each step, by its name."""
    return {step['name']: step for step in json.loads((folder / 'gpu.json').read_text())['steps']}


@pytest.mark.slow
def test_a_dry_run_writes_down_every_step(gpu, tmp_path):
    for package in ('mmdet', 'mmseg', 'spikingjelly'):
        pytest.importorskip(package, reason='the dry run takes every step')
    assert gpu.main([*DRY_RUN, '--out-dir', str(tmp_path)]) == 0
    told = steps(tmp_path)
    assert list(told) == list(gpu.STEPS)
    assert {step['status'] for step in told.values()} == {'done'}
    assert len(told['neurons']['rows']) == 16
    assert all(row['within limits'] for row in told['neurons']['rows'])
    rows = [row for step in told.values() for row in step['rows'] if 'ms' in row]
    assert len(rows) > 80
    assert all(float(row['ms']) > 0 for row in rows)  # An error would stand there.
    text = (tmp_path / 'gpu.md').read_text()
    assert all(f'### {name}: done' in text for name in gpu.STEPS)


def test_a_step_that_fails_is_written_down_and_the_next_one_runs(gpu, tmp_path, monkeypatch):
    def fail(plan):
        yield {'part': 'first', 'found': 1}
        raise RuntimeError('no kernel image\nand more')

    def follow(plan):
        yield {'part': 'second', 'found': 2}

    monkeypatch.setattr(gpu, 'STEPS', {'fail': (fail, 1), 'follow': (follow, 1)})
    assert gpu.main([*DRY_RUN, '--out-dir', str(tmp_path)]) == 1
    told = steps(tmp_path)
    assert told['fail']['status'] == 'failed'
    assert told['fail']['reason'] == 'RuntimeError: no kernel image'
    assert told['fail']['rows'] == [{'part': 'first', 'found': 1}]
    assert told['follow']['status'] == 'done'


def test_a_spent_budget_leaves_steps_out_by_name(gpu, tmp_path):
    gpu.main([*DRY_RUN, '--out-dir', str(tmp_path), '--budget', '0'])
    told = steps(tmp_path)
    assert list(told) == list(gpu.STEPS)
    assert {step['status'] for step in told.values()} == {'left out'}


def test_a_step_ends_with_the_budget(gpu, tmp_path, monkeypatch):
    def endless(plan):
        yield {'part': 'first', 'found': 1}
        while True:
            pass

    monkeypatch.setattr(gpu, 'STEPS', {'endless': (endless, 1), 'next': (endless, 1)})
    gpu.main([*DRY_RUN, '--out-dir', str(tmp_path), '--budget', '0.5'])
    told = steps(tmp_path)
    assert told['endless']['status'] == 'cut short'
    assert told['endless']['rows'] == [{'part': 'first', 'found': 1}]
    assert told['next']['status'] == 'left out'


def test_neurons_that_disagree_fail(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, 'LIMITS', dict.fromkeys(gpu.LIMITS, (-1.0, 0.0)))
    assert gpu.main([*DRY_RUN, '--out-dir', str(tmp_path), '--steps', 'neurons']) == 1


def test_a_side_that_cannot_be_built_is_a_row_with_its_error(gpu):
    def make(name):
        if name == 'broken':
            raise ImportError('No module named flash')
        return lambda: torch.zeros(1)

    plan = gpu.Plan(device='cpu', repeats=1)
    whole, broken = gpu.compare(plan, make, ['whole', 'broken'], T=1)
    assert float(whole['ms']) > 0
    assert broken['ms'] == 'ImportError: No module named flash'


def test_a_step_in_which_no_side_ran_has_failed(gpu, tmp_path, monkeypatch):
    def step(plan):
        return gpu.compare(plan, lambda name: 1 / 0, ['compiled'], T=1)

    monkeypatch.setattr(gpu, 'STEPS', {'step': (step, 1)})
    assert gpu.main([*DRY_RUN, '--out-dir', str(tmp_path)]) == 1
    told = steps(tmp_path)['step']
    assert told['status'] == 'failed'
    assert told['rows'][0]['ms'] == 'ZeroDivisionError: division by zero'


def test_stand_ins_have_constants_and_refuse_calls(gpu):
    module = gpu.StandIn('cv2')
    assert module.IMREAD_COLOR | module.IMREAD_IGNORE_ORIENTATION == 0
    assert module.__spec__.name == 'cv2'  # importlib.util.find_spec asks for it.
    with pytest.raises(NotImplementedError, match='resize'):
        module.resize(None)


def test_masks_are_padded_without_opencv_as_with_it(gpu):
    import bare_machine

    cv2 = pytest.importorskip('cv2')
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for image in (mask, np.dstack([mask] * 3)):
        own = bare_machine.OpenCV('cv2').copyMakeBorder(image, 1, 2, 0, 3, 0, value=0)
        expected = cv2.copyMakeBorder(image, 1, 2, 0, 3, cv2.BORDER_CONSTANT, value=0)
        np.testing.assert_array_equal(own, expected)


def test_operators_of_torchvision_take_the_arguments_of_mmcv(gpu, monkeypatch):
    """mmcv's RoIAlign through the stand-in, and torchvision's own in Python as its operator."""
    roi_align = pytest.importorskip('mmcv.ops.roi_align', exc_type=ImportError)
    make_torchvision_importable()
    torchvision = pytest.importorskip('torchvision.ops.roi_align', exc_type=ImportError)
    in_python = torchvision._roi_align.__wrapped__  # Without torch.compile around it.
    import bare_machine

    features = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, 1, 2, 20, 24], [1, 4, 4, 30, 28]])

    def run():
        x = features.clone().requires_grad_()
        out = roi_align.roi_align(x, rois, (7, 5), 0.5, 2, 'avg', True)
        out.square().sum().backward()
        return out.detach(), x.grad

    def backward(grad, rois, scale, height, width, batch, channels, rows, columns, ratio, aligned):
        x = torch.zeros(batch, channels, rows, columns, requires_grad=True)
        with torch.enable_grad():  # Autograd calls this one with gradients off.
            in_python(x, rois, scale, height, width, ratio, aligned).backward(grad)
        return x.grad

    class Fake:
        roi_align = staticmethod(in_python)
        _roi_align_backward = staticmethod(backward)

    wanted = run()
    monkeypatch.setattr(roi_align, 'ext_module', bare_machine.Operators('mmcv._ext'))
    monkeypatch.setattr(torch.ops, 'torchvision', Fake, raising=False)
    for own, expected in zip(run(), wanted, strict=True):
        torch.testing.assert_close(own, expected)
