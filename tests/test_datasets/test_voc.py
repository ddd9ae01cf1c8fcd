"""VOC's layout: names mean classes as a reader takes them, and what stands twice counts once."""

import logging

import pytest
from PIL import Image

pytest.importorskip('mmdet', reason='the layout of VOC is read by mmdet')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import DATASETS, DefaultScope  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from mmspike.checks.data import build_dataset  # noqa: E402
from mmspike.datasets.voc import XMLDataset  # noqa: E402
from mmspike.errors import UserError  # noqa: E402

OBJECT = (
    '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax>'
    '</bndbox></object>'
)


@pytest.fixture
def said():
    records = []
    handler = logging.Handler(level=logging.INFO)
    handler.emit = lambda record: records.append((record.levelname, record.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture
def load(tmp_path):
    """Write pictures with objects ``(name, xmin)``; give the classes and boxes that are loaded."""

    def run(pictures, kind='XMLDataset', classes=('cat', 'dog'), edit=str, lines='', **options):
        for folder in ('JPEGImages', 'Annotations'):
            (tmp_path / folder).mkdir(exist_ok=True)
        for name, objects in pictures.items():
            Image.new('RGB', (40, 30)).save(tmp_path / f'JPEGImages/{name}.jpg')
            told = ''.join(OBJECT.format(*one) for one in objects)
            size = '<size><width>40</width><height>30</height></size>'
            text = f'<annotation>{size}{edit(told)}</annotation>'
            (tmp_path / f'Annotations/{name}.xml').write_text(text)
        lines = lines or '\n'.join([*pictures, *options.pop('again', ())])
        (tmp_path / 'list.txt').write_text(lines)
        dataset = dict(
            type=f'mmspike.{kind}',
            ann_file=str(tmp_path / 'list.txt'),
            data_prefix=dict(sub_data_root=str(tmp_path)),
            metainfo=dict(classes=classes),
            pipeline=[],
            **options,
        )
        with DefaultScope.overwrite_default_scope('mmdet'):
            built = build_dataset(
                lambda: DataLoader(DATASETS.build(dataset)), ConfigDict(dataset=dataset), 'train'
            )
        infos = map(built.get_data_info, range(len(built)))
        return [
            [(classes[one['bbox_label']], one['bbox'][0]) for one in info['instances']]
            for info in infos
        ]

    return run


@pytest.mark.parametrize('kind', ['XMLDataset', 'VOCDataset'])
def test_names_in_capitals_and_with_spaces(load, said, kind):
    told = {'a': [('cat', 2), ('CAT', 3), (' Dog ', 4)], 'b': [('dog', 5), ('ox', 6)]}
    assert load(told, kind) == [[('cat', 1), ('cat', 2), ('dog', 3)], [('dog', 4)]]
    others, renamed, counts = [text for _, text in said]
    assert "as no class has their names: 'ox' (1)" in others
    assert 'The names of 2 objects of' in renamed and "'CAT' as 'cat', ' Dog ' as 'dog'" in renamed
    assert '4 objects; of 5 in the annotations are left out: 1 of classes that' in counts


def test_classes_that_differ_in_capitals_alone(load):
    told = {'a': [('CAT', 2), ('cat', 3)]}
    assert load(told, classes=('cat', 'CAT')) == [[('CAT', 1), ('cat', 2)]]


def test_what_stands_twice(load, said):
    told = {'a': [('cat', 2), ('cat', 2), ('cat', 3)], 'b': [('dog', 2)]}
    assert load(told, again=['a']) == [[('cat', 1), ('cat', 2)], [('dog', 1)]]
    assert [level for level, _ in said] == ['WARNING', 'WARNING', 'INFO']


def test_a_plain_copy_is_left_rather_than_a_difficult_one(load, monkeypatch):
    """Objects marked as difficult are not learnt."""
    flags = []

    def edit(text):
        difficult = text.replace('<bndbox>', '<difficult>1</difficult><bndbox>', 1)
        return difficult.replace('>5<', '> 5.0 <', 1)

    parse = XMLDataset._parse_instance_info

    def look(self, *args, **options):
        found = parse(self, *args, **options)
        flags.extend(one['ignore_flag'] for one in found)
        return found

    monkeypatch.setattr(XMLDataset, '_parse_instance_info', look)
    found = load(dict(a=[('cat', 5), ('CAT', 5), ('dog', 3)]), edit=edit)
    assert sorted(found[0]) == [('cat', 4), ('dog', 2)]
    assert flags == [0, 0]


def test_objects_without_a_name_or_a_box(load, said):
    def edit(text):
        text = text.replace('<name>cat</name>', '', 1).replace('<xmin>3</xmin>', '<xmin/>', 1)
        return text.replace('<bndbox>', '<difficult>Unspecified</difficult><bndbox>')

    assert load(dict(a=[('cat', 1), ('cat', 3), ('dog', 6)]), edit=edit) == [[('dog', 5)]]
    assert any('2 objects of' in text and 'without a name or a box' in text for _, text in said)


def test_lists_with_flags_and_empty_lines(load, said):
    pictures = dict(a=[('cat', 1)], b=[('dog', 2)])
    assert load(pictures, lines='a  1\nb -1\n\n') == [[('cat', 0)], [('dog', 1)]]
    assert not any(level == 'WARNING' for level, _ in said)


def test_no_name_is_of_a_class(load):
    with pytest.raises(UserError, match='2 images and no object to learn .* 2 of classes'):
        load({'a': [('ox', 2)], 'b': [('cow', 2)]})


def test_pictures_that_are_left_out(load, said):
    told = {'a': [('cat', 2)], 'b': [], 'c': []}
    assert len(load(told)) == 3
    assert len(load(told, filter_cfg=dict(filter_empty_gt=True))) == 1
    level, text = said[-1]
    assert level == 'WARNING'
    assert text == (
        'train: 1 images, 1 objects; left out are 2 images without an object '
        '(filter_cfg.filter_empty_gt=False keeps them)'
    )
