"""The command `export`: a folder is whole or not there, and one sentence says why."""

import errno
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow

from mmspike.commands import export as command
from mmspike.commands.export import export, new_folder, take_of_one_size
from mmspike.deploy.onnx_export import Network
from mmspike.errors import UserError

pytest.importorskip('mmseg', reason='the model is of mmseg')
CONFIG = Path(__file__).parents[1] / 'tiny_segmentor.py'
CONFIGS = Path(__file__).parents[2] / 'configs'
SIZE = ['--size', '32', '48']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    config = Config.fromfile(CONFIG)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    file = tmp_path_factory.mktemp('trained') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return str(file)


@pytest.fixture
def seen(monkeypatch):
    """A format that takes no time, and what it was given."""
    given = []

    def write(model, inputs, folder):
        given.append((model, inputs, folder))
        (folder / 'model.bin').write_text('all')
        return ['one line']

    monkeypatch.setitem(command.FORMATS, 'onnx', write)
    return given


def run(checkpoint, out, *words):
    return export([str(CONFIG), checkpoint, '--format', 'onnx', '--out', str(out), *words])


def test_a_folder_has_its_name_once_all_is_in_it(checkpoint, tmp_path, seen, capsys):
    out = tmp_path / 'deep' / 'model'
    assert run(checkpoint, out, *SIZE, '--num-images', '2') == out
    assert [file.name for file in out.iterdir()] == ['model.bin']
    assert [file.name for file in out.parent.iterdir()] == ['model']
    assert capsys.readouterr().out.endswith(f"one line\nAll of it is in '{out}'\n")
    ((model, inputs, folder),) = seen
    assert not model.training and folder != out
    # Normalized noise, as the model takes it.
    assert inputs.shape == (2, 3, 32, 48) and -2 <= inputs.min() < -1.5 < 1.5 < inputs.max() <= 2.25


def test_a_folder_that_is_there_is_not_touched(checkpoint, tmp_path, seen):
    (tmp_path / 'mine').write_text('mine')
    with pytest.raises(UserError, match='is there already, and nothing is overwritten'):
        run(checkpoint, tmp_path, *SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ['mine'] and not seen


@pytest.mark.parametrize(
    'error, words',
    [
        (
            OSError(errno.ENOSPC, 'No space left on device'),
            r'\(No space .*\): the disk is full; na',
        ),
        (OSError(errno.EACCES, 'Permission denied'), r'written \(Permission denied\); name'),
        (RuntimeError('PytorchStreamWriter failed writing file'), r'\(PytorchStreamWriter failed'),
    ],
)
def test_what_cannot_be_written_leaves_nothing(checkpoint, tmp_path, monkeypatch, error, words):
    def write(model, inputs, folder):
        (folder / 'half').write_text('half')
        raise error

    monkeypatch.setitem(command.FORMATS, 'onnx', write)
    with pytest.raises(UserError, match=words):
        run(checkpoint, tmp_path / 'deep' / 'model', *SIZE)
    assert not list(tmp_path.iterdir())


def test_a_fault_of_another_kind_is_no_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match='a bug'), new_folder(tmp_path / 'deep' / 'model'):
        raise RuntimeError('a bug')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'words, sentence',
    [
        (['--num-images', '0'], '--num-images is 0, but at least 1 image is needed'),
        (['--size', '0', '32'], 'an image has at least 1 pixel'),
        (['--cfg-options', 'model.backbone.neuron.type=ReLU', *SIZE], 'no spiking neuron|spike'),
    ],
)
def test_what_cannot_be_exported(checkpoint, tmp_path, seen, words, sentence):
    with pytest.raises(UserError, match=sentence):
        run(checkpoint, tmp_path / 'model', *words)
    assert not list(tmp_path.iterdir()) and not seen


def test_images_are_those_of_the_first_ones_size():
    images = [torch.full((1, 3, *size), float(i)) for i, size in enumerate([(4, 6), (6, 4)] * 2)]
    assert take_of_one_size(images, 2)[:, 0, 0, 0].tolist() == [0, 2]
    with pytest.raises(UserError, match='is 3, but the test set has 2 images of 4x6 pixels'):
        take_of_one_size(images, 3)


def test_a_size_that_the_model_cannot_take(tmp_path, seen, monkeypatch):
    """Its pyramid doubles levels; the format runs the model, which refuses."""
    pytest.importorskip('mmdet', reason='YOLOX is a model of mmdet')
    config = Config.fromfile(CONFIGS / 'yolox_metaspike-tiny_t1_shapes.py')
    config.model = narrow(config)
    config.model.data_preprocessor.pop('pad_size_divisor', None)
    config.dump(tmp_path / 'yolox.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(config.model).state_dict()
    torch.save(dict(state_dict=weights, meta={}), tmp_path / 'weights.pth')
    monkeypatch.setitem(
        command.FORMATS, 'onnx', lambda model, inputs, folder: Network(model)(inputs)
    )
    out = tmp_path / 'model'
    words = [str(tmp_path / 'yolox.py'), str(tmp_path / 'weights.pth'), '--format', 'onnx']
    with pytest.raises(UserError, match='40x72 pixels, but this neck .* needs a multiple of 32'):
        export([*words, '--out', str(out), '--size', '40', '72'])
    assert not out.exists()
