"""`mmspike serve`: a picture in, what is found, spikes and energy out, on this machine alone."""

import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from browser import browser
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from threads import one_thread

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands import serve
from mmspike.datasets.shapes import draw_scene
from mmspike.errors import UserError

ROOT = Path(__file__).parents[2]
T = 2


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('input') / 'scene.png'
    cv2.imwrite(str(path), draw_scene(np.random.default_rng(0), 64)[0])
    return path


@pytest.fixture(
    scope='module',
    params=['mask_rcnn_metaspike-tiny_t1_shapes', 'semantic_fpn_metaspike-tiny_t1_shapes'],
)
def address(request, tmp_path_factory):
    """Where a narrow model is served."""
    config = Config.fromfile(ROOT / 'configs' / f'{request.param}.py')
    pytest.importorskip(config.default_scope, reason='the library of this model')
    folder = tmp_path_factory.mktemp('model')
    config.model = narrow(config)
    config.model.backbone.time_steps = T
    config.dump(folder / 'model.py')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = randomize_norms(MODELS.build(config.model))
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    files = str(folder / 'model.py'), str(folder / 'weights.pth')
    server = serve.make_server(serve.Demonstration(*files, 'cpu', None, 0.0), '127.0.0.1', 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    thread.join()
    server.server_close()


def send(address, data):
    body = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n'
    body += b'Content-Type: image/png\r\n\r\n' + data + b'\r\n--x--\r\n'
    form = {'Content-Type': 'multipart/form-data; boundary=x'}
    with urllib.request.urlopen(urllib.request.Request(address, body, form)) as answer:
        return answer.read().decode()


def test_a_picture_is_looked_at(address, picture):
    page = send(address, picture.read_bytes())
    assert page.count('data:image/jpeg') == 1 + 5 * T
    total = re.search(r'value="([\d.e-]+)" data-path="\[&#34;energy&#34;, &#34;total&#34;\]"', page)
    assert 0 < float(total[1]) < 10
    assert not re.search(r'https?://', page)


def test_what_is_no_picture_is_said_so(address):
    for data in (b'not a picture', b'', b'\x89PNG\r\n\x1a\nand then nothing'):
        assert 'this file is not a picture that can be read' in send(address, data)


def test_other_requests(address):
    with pytest.raises(urllib.error.HTTPError, match='404'):
        urllib.request.urlopen(f'{address}etc/passwd')
    with pytest.raises(urllib.error.HTTPError, match='413'):
        urllib.request.urlopen(address, b'')


def test_in_a_browser(address, picture, tmp_path):
    with browser(tmp_path) as page:
        page.open(address, width=390)
        root = page.call('DOM.getDocument')['root']['nodeId']
        (field,) = page.call('DOM.querySelectorAll', nodeId=root, selector='input')['nodeIds']
        page.call('DOM.setFileInputFiles', nodeId=field, files=[str(picture)])
        page.run('document.querySelector("form button").click()')
        page.wait('Page.loadEventFired')
        assert page.problems == []
        assert page.run('document.querySelectorAll("[data-maps] figure").length') == 5 * T
        assert page.run('[...document.images].every(image => image.naturalWidth > 0)')
        assert page.run('document.documentElement.scrollWidth') == 390
        outside = [u for u in page.asked if not u.startswith((address, 'data:'))]
        assert outside == []


def test_a_port_that_is_taken(address):
    port = int(address.rpartition(':')[2].strip('/'))
    with pytest.raises(UserError, match=f'127.0.0.1:{port} cannot be served at'):
        serve.make_server(None, '127.0.0.1', port)


def test_by_default_it_listens_on_this_machine_alone(monkeypatch, address):
    heard = []

    def make(shown, host, port):
        heard.append((host, port))
        raise UserError('enough')

    monkeypatch.setattr(serve, 'Demonstration', lambda *args: None)
    monkeypatch.setattr(serve, 'make_server', make)
    with pytest.raises(UserError, match='enough'):
        serve.serve(['config.py', 'weights.pth'])
    assert heard == [('127.0.0.1', 7860)]
