"""`mmspike report`: one page, whose figures are those of the JSON beside it, in a real browser."""

import errno
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browser
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from threads import one_thread

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands import report_page
from mmspike.commands.report import report
from mmspike.datasets import generate_shapes
from mmspike.datasets.moving_shapes import generate_moving_shapes
from mmspike.datasets.shape_crops import cut_shapes
from mmspike.errors import UserError

ROOT = Path(__file__).parents[2]
T = 2
SEGMENTATION = 'semantic_fpn_metaspike-tiny_t1_shapes'
INSTANCES = 'mask_rcnn_metaspike-tiny_t1_shapes'
CLASSES = {'background', 'circle', 'rectangle', 'triangle'}


class Page(HTMLParser):
    """The figures of a page, and all that a browser would load or go to."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.links, self._open, self.tags = {}, [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [attrs[key] for key in ('src', 'href', 'srcset') if key in attrs]
        if tag == 'data' and 'data-path' in attrs:
            self._open = attrs['data-path'], attrs['value']

    def handle_data(self, data):
        if self._open:
            path, value = self._open
            self.figures[path] = value, data
            self._open = None


def look_up(figures, path):
    for key in json.loads(path):
        figures = figures[key]
    return figures


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    pytest.importorskip('mmdet', reason='the shapes are made for all libraries')
    return generate_shapes(tmp_path_factory.mktemp('data') / 'shapes', 2, 3, 64)


def prepare(name, data, folder, levels=1):
    """Write a narrow model of a shipped config, and weights with which it fires."""
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    pytest.importorskip(config.default_scope, reason='the library of this model')
    config.model = narrow(config)
    if 'moving' not in name:
        config.model.backbone.time_steps = T
    if levels > 1:
        config.model.backbone.neuron = dict(type='mmspike.ILIF', levels=levels)
    path, weights = folder / f'{name}.py', folder / 'weights.pth'
    config.dump(path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = randomize_norms(MODELS.build(config.model))
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3, iter=12)), weights)
    out = folder / 'page.html'
    options = [
        f'data_root={data}/',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ]
    argv = [str(path), str(weights), '--out', str(out), '--work-dir', str(folder / 'work')]
    return [*argv, '--num-images', '2', '--cfg-options', *options], out


@pytest.fixture(scope='module')
def segmentation(shapes, tmp_path_factory):
    argv, out = prepare(SEGMENTATION, shapes, tmp_path_factory.mktemp('maps'), levels=2)
    report(argv)
    return out


def read(out):
    return json.loads(out.with_suffix('.json').read_text()), out.read_text()


def test_every_figure_on_the_page_is_the_one_in_the_json(segmentation):
    figures, text = read(segmentation)
    page = Page(text)
    assert len(page.figures) > 100
    for path, (value, shown) in page.figures.items():
        figure = look_up(figures, path)
        assert value == ('' if figure is None else str(figure)), path
        number = re.fullmatch(r'([\d.,e+-]+)( M)?', shown)
        if isinstance(figure, (int, float)):
            said = float(number[1].replace(',', '')) * (1e6 if number[2] else 1)
            assert said == pytest.approx(figure, rel=1e-3, abs=1e-12), path
    layers = [path for path in page.figures if path.startswith('["energy", "layers"')]
    assert len(layers) == 5 * len(figures['energy']['layers'])


def test_it_says_what_the_model_is(segmentation):
    about = read(segmentation)[0]['about']
    weights = segmentation.with_name('weights.pth').read_bytes()
    assert about['checkpoint'] == dict(
        name='weights.pth',
        bytes=len(weights),
        sha256=hashlib.sha256(weights).hexdigest()[:12],
        epoch=3,
        iteration=12,
    )
    state = torch.load(segmentation.with_name('weights.pth'))['state_dict']
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    count = sum(v.numel() for k, v in state.items() if not k.endswith(buffers))
    assert (about['time_steps'], about['levels'], about['parameters']) == (T, 2, count)
    assert about['task'] == 'segmentation' and about['versions']['torch'] == torch.__version__


def test_its_parts_agree(segmentation):
    figures, _ = read(segmentation)
    test, energy = figures['test'], figures['energy']
    assert {row['class'] for row in test['classes']} == CLASSES
    ious = [row['IoU'] for row in test['classes'] if row['IoU'] is not None]
    assert np.mean(ious) == pytest.approx(test['metrics']['mIoU'], abs=0.01)
    assert sum(row['energy'] for row in energy['layers']) == pytest.approx(energy['total'])
    assert energy['images'] == 2
    maps = figures['heat_maps']
    assert [m['step'] for m in maps] == [1, 2] * (len(maps) // 2) and len(maps) == 5 * T
    assert figures['proof']['proven'] and figures['proof']['form'] == 'unroll'
    assert {row['verdict'] for row in figures['proof']['operations']} == {'image', 'spikes'}
    assert np.median(figures['speed']['seconds']) == figures['speed']['median']


def test_it_is_one_small_file_that_needs_no_network(segmentation):
    _, text = read(segmentation)
    assert segmentation.stat().st_size < 5e6
    links = Page(text).links
    assert len([link for link in links if link.startswith('data:image/jpeg')]) == 2 + 5 * T
    assert all(link.startswith('data:') for link in links)
    assert not re.search(r'https?://|@import|url\(', text)
    assert not list(segmentation.parent.glob('.*'))


@pytest.mark.parametrize('name', [INSTANCES, 'metaspike-tiny_t1_shapes'])
def test_the_other_libraries(name, shapes, tmp_path):
    if name != INSTANCES:
        pytest.importorskip('mmpretrain', reason='the library of this model')
        cut_shapes(shapes)
    argv, out = prepare(name, shapes, tmp_path)
    figures = report(argv)
    assert {row['class'] for row in figures['test']['classes']} == CLASSES - {'background'}
    for key in ('bbox mAP', 'segm mAP') if name == INSTANCES else ('accuracy',):
        scores = [row[key] for row in figures['test']['classes'] if row[key] is not None]
        assert scores
    if name == INSTANCES:
        mean = figures['test']['metrics']['coco/bbox_mAP']
        given = [r['bbox mAP'] for r in figures['test']['classes'] if r['bbox mAP'] is not None]
        assert np.mean(given) == pytest.approx(mean, abs=2e-3)
        assert 'coco/segm_mAP' in figures['test']['metrics']
    text = out.read_text()
    assert text.count('data:image/jpeg') == 2 + len(figures['heat_maps'])
    assert ('found: ' in text) == (name != INSTANCES)


def test_events_have_no_pictures(tmp_path):
    pytest.importorskip('mmpretrain', reason='the library of this model')
    data = generate_moving_shapes(tmp_path / 'moving', num_train=2, num_val=4)
    argv, out = prepare('metaspike-tiny_t8_moving_shapes', data or tmp_path / 'moving', tmp_path)
    figures = report(argv)
    assert figures['heat_maps'] == [] and figures['about']['time_steps'] == 8
    assert figures['test']['classes'] and figures['energy']['total'] > 0
    assert 'this model sees sequences' in out.read_text()


def test_without_the_test_set(tmp_path, capsys):
    argv, out = prepare(SEGMENTATION, tmp_path / 'nowhere', tmp_path)
    figures = report(argv)
    assert figures['energy']['noise'] and 'nowhere' in figures['test']['missing']
    text = out.read_text()
    assert 'It was not tested' in text and 'noise, since there is no test set' in text
    assert 'without the test set' in capsys.readouterr().out


def test_names_are_escaped_and_what_is_missing_is_a_dash(segmentation):
    figures, _ = read(segmentation)
    figures['test']['classes'] = [{'class': '<script>alert(1)</script>', 'IoU': None}]
    text = report_page.render('report', figures, pictures=dict(predictions=[], heat_maps=[''] * 10))
    assert '<script>alert' not in text and '&lt;script&gt;alert' in text
    assert Page(text).figures['["test", "classes", 0, "IoU"]'] == ('', '–')


def test_a_full_disk_leaves_the_old_page(segmentation, tmp_path, monkeypatch):
    figures, _ = read(segmentation)
    out = tmp_path / 'page.html'
    out.write_text('old')
    write = Path.write_text

    def fill(path, text, **options):
        write(path, text[:100], **options)
        if 'html' in path.name:
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', fill)
    with pytest.raises(UserError, match=r'page.html.*: the disk is full'):
        report_page.write_page(figures, dict(predictions=[], heat_maps=[''] * 10), out)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ['page.html']
    assert out.read_text() == 'old'


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--out', 'page.pdf'], "--out is 'page.pdf', but a page ends with .html"),
        (['--num-images', '0'], '--num-images is 0'),
    ],
)
def test_bad_arguments(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(ROOT / 'configs' / f'{SEGMENTATION}.py')
    with pytest.raises(UserError, match=sentence):
        report([config, 'none.pth', *options])


def test_a_model_that_does_not_spike(tmp_path):
    argv, _ = prepare(SEGMENTATION, tmp_path / 'nowhere', tmp_path)
    config = Config.fromfile(argv[0])
    config.model.backbone.neuron = dict(type='ReLU')
    config.dump(argv[0])
    with pytest.raises(UserError, match='does not spike'):
        report(argv)


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp('profile')) as page:
        yield page


def test_it_opens_in_a_browser_without_errors(segmentation, chromium):
    chromium.open(segmentation.as_uri())
    assert chromium.problems == []
    asked = [url for url in chromium.asked if not url.startswith('data:')]
    assert asked == [segmentation.as_uri()]
    assert chromium.run('[...document.images].every(image => image.naturalWidth > 0)')


def test_a_click_sorts(segmentation, chromium):
    chromium.open(segmentation.as_uri())
    column = '[...document.querySelectorAll("#layers tbody tr")].map(row => row.cells[10]'
    column += '.querySelector("data").value).map(Number)'
    figures, _ = read(segmentation)
    costs = [row['energy'] for row in figures['energy']['layers']]
    assert chromium.run(column) == costs
    click = 'document.querySelectorAll("#layers th")[10].firstChild.click()'
    chromium.run(click)
    assert chromium.run(column) == sorted(costs, reverse=True) != costs
    chromium.run(click)
    assert chromium.run(column) == sorted(costs)
    chromium.run('document.querySelectorAll("#classes th")[0].firstChild.click()')
    names = '[...document.querySelectorAll("#classes tbody tr")].map(r => r.cells[0].textContent)'
    assert chromium.run(names) == sorted(CLASSES, reverse=True)


def test_one_heat_map_is_shown_at_a_time(segmentation, chromium):
    chromium.open(segmentation.as_uri())
    shown = '[...document.querySelectorAll("[data-maps] figure")].filter(f => f.offsetHeight)'
    shown += '.map(f => f.dataset.stage + " " + f.dataset.step)'
    assert chromium.run(shown) == ['1a 1']
    for what, value in (('stage', '3'), ('step', '2')):
        chromium.run(f'document.querySelector("[data-choose={what}][value=\\"{value}\\"]").click()')
    assert chromium.run(shown) == ['3 2']


def test_nothing_is_wider_than_a_phone(segmentation, chromium):
    chromium.open(segmentation.as_uri(), width=390, height=800)
    assert chromium.run('document.documentElement.scrollWidth') == 390
    bars = 'Math.max(...[...document.querySelectorAll(".meter div")].map(d => d.offsetWidth))'
    assert chromium.run(bars) > 150, 'the bars of the energy have no room'


def test_without_scripts_all_is_there(segmentation, chromium):
    chromium.open(segmentation.as_uri(), scripts=False)
    figures, _ = read(segmentation)
    rows = chromium.run('document.querySelectorAll("#layers tbody tr").length')
    assert rows == len(figures['energy']['layers'])
    shown = '[...document.querySelectorAll("[data-maps] figure")].filter(f => f.offsetHeight)'
    assert chromium.run(f'{shown}.length') == 5 * T
    assert chromium.run('document.querySelectorAll("button").length') == 0
