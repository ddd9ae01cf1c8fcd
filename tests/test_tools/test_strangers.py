"""Files from strangers: none runs code, fills the memory, or writes where it was not asked to."""

import functools
import json
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cli
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmspike.commands.check import check as check_spike_driven
from mmspike.commands.convert import convert
from mmspike.commands.energy import energy
from mmspike.commands.infer import infer
from mmspike.commands.spikes import spikes as show_spikes
from mmspike.datasets.event_files import read_events
from mmspike.datasets.shape_crops import cut_shapes
from mmspike.datasets.transforms import LoadSegAnnotations
from mmspike.engine import UserError, load_checkpoint_file
from mmspike.hosts import LIBRARIES
from mmspike.hosts.inferencers import HostModel, dataset_meta

from .conftest import CONFIG, ROOT, arguments
from .test_bad_input import Malicious, refusal, refused_test, refused_training

EVENTS = np.stack([np.arange(50), *np.zeros((3, 50), int)], axis=1)


@pytest.fixture
def evil(tmp_path):
    """A checkpoint that makes the folder `harm`, should anybody unpickle it."""
    content = {'state_dict': {}, 'meta': Malicious(tmp_path / 'harm')}
    torch.save(content, tmp_path / 'evil.pth')
    yield tmp_path / 'evil.pth'
    assert not (tmp_path / 'harm').exists()


class TestCode:
    """Code in a pickle; tests of training and testing stand in test_bad_input.py."""

    def test_converting(self, evil, tmp_path):
        assert 'posix.mkdir' in refusal(convert, evil, tmp_path / 'converted.pth')
        assert not (tmp_path / 'converted.pth').exists()

    @pytest.mark.parametrize(
        'tool', [infer, show_spikes, energy, check_spike_driven], ids=lambda tool: tool.__name__
    )
    def test_tools_that_run_a_model(self, evil, shapes, tmp_path, tool):
        rest = [] if tool is check_spike_driven else ['--out-dir', tmp_path / 'out']
        image = [] if tool in (energy, check_spike_driven) else [shapes / 'val' / '000001.png']
        assert 'posix.mkdir' in refusal(tool, CONFIG, evil, *image, *rest)

    def test_a_teacher(self, evil, shapes, tmp_path):
        pytest.importorskip('mmpretrain', reason='classifiers are models of mmpretrain')
        cut_shapes(shapes)
        config = Config.fromfile(ROOT / 'configs' / 'metaspike-tiny_t1_shapes.py')
        teacher = config.model.copy()
        config.model.update(
            type='mmspike.DistilledSpikeClassifier', teacher=teacher, teacher_checkpoint=str(evil)
        )
        config.model.head.type = 'mmspike.SpikeDistilledClsHead'
        config.dump(tmp_path / 'distilled.py')
        argv = arguments(shapes, tmp_path / 'work', config=tmp_path / 'distilled.py')
        assert 'posix.mkdir' in refusal(cli.train, *argv)

    @pytest.mark.parametrize('where', ['test', 'load_from', 'init_cfg', 'host'])
    def test_a_url(self, evil, shapes, tmp_path, monkeypatch, where):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
        with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f'http://127.0.0.1:{server.server_port}/evil.pth'
            init_cfg = [
                'model.backbone.init_cfg.type=Pretrained',
                f'model.backbone.init_cfg.checkpoint={url}',
            ]
            if where == 'test':
                sentence = refused_test(shapes, tmp_path, url)
            elif where == 'init_cfg':
                sentence = refused_training(shapes, tmp_path, *init_cfg)
            elif where == 'load_from':
                sentence = refused_training(shapes, tmp_path, f'load_from={url}')
            else:  # Without a checkpoint, the weights are those of init_cfg.
                options = dict(option.split('=') for option in init_cfg)
                sentence = refusal(lambda _: HostModel(CONFIG, None, 'cpu', options))
            server.shutdown()
        assert 'asks for posix.mkdir to be run' in sentence
        assert url in sentence or where in ('init_cfg', 'host')

    @pytest.mark.parametrize('suffix', ['.npy', '.npz'])
    def test_events(self, tmp_path, suffix):
        path, array = tmp_path / f'evil{suffix}', np.array([Malicious(tmp_path / 'harm')], object)
        (np.save if suffix == '.npy' else np.savez)(path, array, allow_pickle=True)
        with pytest.raises(UserError, match=f'evil{suffix}.* cannot be read as events'):
            read_events(str(path))
        assert not (tmp_path / 'harm').exists()


class TestContent:
    """Checkpoints of plain data that are no checkpoint all the same."""

    @pytest.mark.parametrize(
        ('content', 'words'),
        [
            ({'state_dict': [1]}, 'holds a list under state_dict'),
            ({'state_dict': {1: torch.ones(1)}}, 'a dict of names there'),
            ({'state_dict': {}, 'meta': 'text'}, 'holds a str under meta'),
        ],
    )
    def test_other_kinds(self, tmp_path, content, words):
        torch.save(content, tmp_path / 'odd.pth')
        with pytest.raises(UserError, match=words):
            load_checkpoint_file(tmp_path / 'odd.pth')

    @pytest.mark.parametrize('meta', [[1], {'classes': 5}, {5: 'a'}, 'text', {'palette': 1.0}])
    def test_classes_of_other_kinds_are_passed_over(self, meta):
        pytest.importorskip('mmdet', reason='the dataset is one of mmdet')
        config = Config.fromfile(CONFIG)
        mmdet = LIBRARIES['mmdet']
        expected = dataset_meta(config, None, mmdet)
        assert expected['classes']
        assert dataset_meta(config, {'meta': {'dataset_meta': meta}}, mmdet) == expected


class TestArchives:
    """Zip files that are damaged, or whose members have paths."""

    @pytest.mark.parametrize('shape', [(10**15, 4), (2**62, 4)])
    def test_events_that_say_they_are_many(self, tmp_path, shape):
        with (tmp_path / 'lie.npy').open('wb') as file:
            header = {'descr': '<f8', 'fortran_order': False, 'shape': shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(64))
        with zipfile.ZipFile(tmp_path / 'lie.npz', 'w') as archive:
            archive.write(tmp_path / 'lie.npy', 'arr_0.npy')
        for name in ('lie.npy', 'lie.npz'):
            with pytest.raises(UserError, match=f'{name}.* cannot be read as events'):
                read_events(str(tmp_path / name))

    def test_damaged_and_encrypted_members(self, tmp_path):
        np.savez_compressed(tmp_path / 'good.npz', EVENTS)
        whole = bytearray((tmp_path / 'good.npz').read_bytes())
        damaged, encrypted = whole.copy(), whole.copy()
        damaged[60:80] = b'\xff' * 20
        encrypted[6] |= 1
        encrypted[whole.find(b'PK\x01\x02') + 8] |= 1
        for name, content in (('damaged.npz', damaged), ('encrypted.npz', encrypted)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=f'{name}.* cannot be read as events'):
                read_events(str(tmp_path / name))

    @pytest.mark.parametrize('name', ['../outside.npy', '/tmp/outside.npy', '..\\outside.npy'])
    def test_members_with_paths_are_read_and_not_written(self, tmp_path, name):
        folder = tmp_path / 'in'
        folder.mkdir()
        np.save(tmp_path / 'events.npy', EVENTS)
        with zipfile.ZipFile(folder / 'odd.npz', 'w') as archive:
            archive.write(tmp_path / 'events.npy', name)
        before = sorted(tmp_path.rglob('*'))
        assert np.array_equal(read_events(str(folder / 'odd.npz')), EVENTS)
        assert sorted(tmp_path.rglob('*')) == before


def test_label_map_that_unpacks_to_more(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(UserError, match='bomb.png. cannot be read as a label map'):
        LoadSegAnnotations().transform({'seg_map_path': str(tmp_path / 'bomb.png')})


class TestPaths:
    """Names in annotations say what is read, and never where something is written."""

    @pytest.mark.parametrize('absolute', [True, False])
    def test_pictures_of_a_test_stay_in_their_folder(
        self, own_shapes, tmp_path, trained, absolute, monkeypatch
    ):
        path = own_shapes / 'annotations' / 'instances_val.json'
        told = json.loads(path.read_text())
        for image in told['images']:
            name = image['file_name']
            image['file_name'] = f'{own_shapes}/val/{name}' if absolute else f'../x/../val/{name}'
        (own_shapes / 'x').mkdir()
        path.write_text(json.dumps(told))
        before = {p for p in own_shapes.rglob('*')}
        flags = ['--show-dir', 'pictures', '--out', str(tmp_path / 'work' / 'out.pkl')]
        argv = arguments(own_shapes, tmp_path / 'work', flags=flags)
        (tmp_path / 'here').mkdir()
        monkeypatch.chdir(tmp_path / 'here')
        cli.test([str(CONFIG), str(trained), *argv])
        assert {p for p in own_shapes.rglob('*')} == before
        written = sorted(p.name for p in (tmp_path / 'here').rglob('pictures/*'))
        assert written == sorted(Path(image['file_name']).name for image in told['images'])

    def test_another_file_than_an_image(self, own_shapes, tmp_path, trained):
        path = own_shapes / 'annotations' / 'instances_val.json'
        secret = tmp_path / 'secret'
        secret.write_text('root:x:0:0')
        told = json.loads(path.read_text())
        told['images'][0]['file_name'] = '../../secret'
        path.write_text(json.dumps(told))
        sentence = refused_test(own_shapes, tmp_path, trained)
        assert "secret' cannot be read as an image" in sentence and 'root:x' not in sentence
