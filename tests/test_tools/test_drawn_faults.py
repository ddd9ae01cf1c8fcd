"""Three hundred drawn faults in datasets: the losses and metrics of the clean data, or a sentence.

A small model trains one iteration on all pictures at once, and is tested with the truth of the
clean pictures as its predictions. Whatever a fault changes of losses or metrics must be said, in
words that name what was changed. Faults that leave a dataset of another truth, as an object of
another class, are drawn seldom and are not held against it.
"""

import json
import logging
import math
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from PIL import Image, ImageDraw

pytest.importorskip('hypothesis', reason='the faults are drawn by it')
pytest.importorskip('mmdet', reason='a detector is trained')
pytest.importorskip('mmseg', reason='a segmentor is trained')
import cli  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from mmengine.structures import InstanceData, PixelData  # noqa: E402

from mmspike.commands import common  # noqa: E402
from mmspike.errors import UserError  # noqa: E402

from .conftest import arguments  # noqa: E402
from .test_faults import DETECTOR, NARROW, NARROW_PARTS, SEGMENTOR  # noqa: E402

pytestmark = pytest.mark.slow

SIZE = 64, 48  # Width and height: turned pictures are others.
COUNTS = dict(train=4, val=3)
CLASSES = ('circle', 'rectangle', 'triangle')
TABLES = dict(
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd', 'segmentation'),
    images=('id', 'file_name', 'width', 'height'),
    categories=('id', 'name'),
)
OPTIONS = {
    DETECTOR: [
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'model.train_cfg.rpn.sampler.num=100000',  # All: which are drawn tells nothing.
        'model.train_cfg.rcnn.sampler.num=100000',
        'train_dataloader.dataset.pipeline.3.prob=0.0',
    ],
    SEGMENTOR: [
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.interval=1',
        'model.data_preprocessor.size=(64,64)',
        'train_dataloader.dataset.pipeline.2.prob=0.0',
    ],
}
LOADING = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'train_dataloader.dataset.serialize_data=False',
    'val_dataloader.dataset.serialize_data=False',
    'default_hooks.checkpoint=None',
    'param_scheduler=[]',  # One that is made for longer runs is warned of.
]


def draw_objects(rng):
    """Three polygons in thirds of the picture, one of each class."""
    width, height = SIZE
    for number in range(3):
        left, top = int(rng.integers(1, 6)) + number * width // 3, int(rng.integers(2, 14))
        right, bottom = left + int(rng.integers(9, 14)), top + int(rng.integers(14, 30))
        if number == 0:
            angles = np.arange(0, 2 * np.pi, np.pi / 6)
            x = (left + right) / 2 + (right - left) / 2 * np.cos(angles)
            y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angles)
        elif number == 1:
            x, y = np.array([left, right, right, left]), np.array([top, top, bottom, bottom])
        else:
            x, y = np.array([left, right, (left + right) / 2]), np.array([bottom, bottom, top])
        yield number, x.astype(float), y.astype(float), (left, top, right - left, bottom - top)


def write_clean(root):
    rng = np.random.default_rng(0)
    (root / 'annotations').mkdir(parents=True)
    for split, count in COUNTS.items():
        told = dict(images=[], annotations=[], categories=[])
        told['categories'] = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        for folder in (split, f'masks/{split}'):
            (root / folder).mkdir(parents=True)
        for image in range(1, count + 1):
            name = f'{image:03d}.png'
            # Grey of few values, which every format keeps.
            grey = rng.integers(0, 9, SIZE[::-1], np.uint8) * 10
            picture = Image.fromarray(grey).convert('RGB')
            labels = Image.new('L', SIZE)
            told['images'].append(dict(id=image, file_name=name, width=SIZE[0], height=SIZE[1]))
            for number, x, y, box in draw_objects(rng):
                points = list(zip(x.tolist(), y.tolist(), strict=True))
                colour = int(rng.integers(12, 25)) * 10
                ImageDraw.Draw(picture).polygon(points, fill=(colour,) * 3)
                ImageDraw.Draw(labels).polygon(points, fill=number + 1)
                area = abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2
                told['annotations'].append(
                    dict(
                        id=len(told['annotations']) + 1,
                        image_id=image,
                        category_id=number + 1,
                        bbox=list(box),
                        area=float(area),
                        iscrowd=0,
                        segmentation=[[value for point in points for value in point]],
                    )
                )
            picture.save(root / split / name)
            labels.save(root / 'masks' / split / name)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(told))


@pytest.fixture(scope='module')
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp('clean') / 'data'
    write_clean(root)
    return root


def truth_of(root, sample):
    """The clean truth of a picture of the validation set, as a perfect model would find it."""
    from mmdet.structures.mask import polygon_to_bitmap

    told = json.loads((root / 'annotations' / 'instances_val.json').read_text())
    name = Path(sample.img_path).name
    ids = [image['id'] for image in told['images'] if image['file_name'] == name]
    own = [thing for thing in told['annotations'] if thing['image_id'] in ids]
    boxes = torch.tensor([thing['bbox'] for thing in own], dtype=torch.float).reshape(-1, 4)
    height, width = sample.ori_shape
    masks = [polygon_to_bitmap([np.array(t['segmentation'][0])], height, width) for t in own]
    found = InstanceData()
    found.bboxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    found.labels = torch.tensor([thing['category_id'] - 1 for thing in own], dtype=torch.long)
    found.scores = torch.linspace(0.9, 0.8, len(own))
    found.masks = torch.from_numpy(np.array(masks).reshape(-1, height, width)).bool()
    return found


@pytest.fixture(scope='module')
def run(clean, tmp_path_factory):
    """Train and validate on a dataset: losses and metrics, and what was said meanwhile."""
    from mmspike.models.detectors import SpikeMaskRCNN
    from mmspike.models.segmentors import SpikeEncoderDecoder

    configs = {}
    patch = pytest.MonkeyPatch()

    def load_config(path, options=None):
        """Cost of a config, once for all runs."""
        key = Path(path)
        if key not in configs:
            options = {**options, 'data_root': f'{clean}/'}
            configs[key] = original(path, options)
        config = deepcopy(configs[key])
        config.merge_from_dict(replaced(config._cfg_dict.to_dict(), str(clean), str(run.root)))
        return config

    def replaced(node, old, new):
        if isinstance(node, dict):
            return {key: replaced(value, old, new) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(replaced(value, old, new) for value in node)
        return node.replace(old, new) if isinstance(node, str) else node

    original = common.load_config
    parse = BaseModel.parse_losses
    losses, said = {}, []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    log = MMLogger.__init__

    def log_too(self, *args, **kwargs):
        log(self, *args, **kwargs)
        self.addHandler(handler)

    def parse_losses(self, found):
        total, told = parse(self, found)
        losses.update({key: float(value) for key, value in told.items()})
        return total, told

    def detect(self, inputs, samples, rescale=True):
        for sample in samples:
            sample.pred_instances = truth_of(clean, sample)
        return samples

    def segment(self, inputs, samples=None):
        for sample in samples:
            path = clean / 'masks' / 'val' / Path(sample.img_path).name
            ids = torch.from_numpy(np.array(Image.open(path))).long()[None]
            sample.pred_sem_seg = PixelData(data=ids)
        return samples

    patch.setattr(common, 'load_config', load_config)
    patch.setattr(common, 'draw_loaded', lambda runner, split: None)  # It takes half a second.
    patch.setattr(MMLogger, '__init__', log_too)
    patch.setattr(Config, 'pretty_text', 'left out: it takes a second')
    patch.setattr(BaseModel, 'parse_losses', parse_losses)
    patch.setattr(SpikeMaskRCNN, 'predict', detect)
    patch.setattr(SpikeEncoderDecoder, 'predict', segment)

    def run(root, config):
        run.root = root
        losses.clear(), said.clear()
        options = [*NARROW, *NARROW_PARTS[config], *OPTIONS[config], *LOADING]
        try:
            runner = cli.train(arguments(root, root.parent / 'work', *options, config=config))
        except UserError as error:
            return None, [error.sentence]
        metrics = {
            key.removeprefix('val/'): value.current()
            for key, value in runner.message_hub.log_scalars.items()
            if key.startswith('val/') and 'time' not in key
        }
        return {**losses, **metrics}, said.copy()

    run.expected = {}
    yield run
    patch.undo()


def same(found, expected):
    return found.keys() == expected.keys() and all(
        math.isclose(found[key], expected[key], rel_tol=1e-4, abs_tol=1e-5) for key in expected
    )


BROKEN = ('none', 'text', 'list', 'fraction', 'true')  # Retyped.
MOVED = ('negative', 'zero', 'huge', 'nan', 'shifted', 'halved', 'doubled')


def altered(value, how, record, others):
    """A field's value with a fault; `...` takes the field away."""
    if how == 'dropped':
        return ...
    if how in BROKEN:
        number = value if isinstance(value, (int, float)) else 0.5
        return dict(none=None, text=str(value), list=[value], fraction=number + 0.5, true=True)[how]
    if how == 'swapped':  # With that of another record.
        return deepcopy(others[(others.index(record) + 1) % len(others)].get('_old', value))
    if isinstance(value, list):
        if how == 'corners':
            x, y, width, height = value
            return [x, y, x + width, y + height]
        if how == 'transposed':
            return [value[1], value[0], value[3], value[2]]
        if how == 'centre':
            x, y, width, height = value
            return [x + width / 2, y + height / 2, width, height]
        if how == 'share':
            return [v / SIZE[i % 2] for i, v in enumerate(value)]
        return [altered(part, how, record, others) for part in value]
    if not isinstance(value, (int, float)):
        return str(value) + 'x'
    return dict(
        negative=-value,
        zero=0,
        huge=10**6,
        nan=math.nan,
        shifted=value + 7,
        halved=value / 2,
        doubled=value * 2,
    )[how]


@st.composite
def coco_faults(draw):
    split = draw(st.sampled_from(tuple(COUNTS)))
    table = draw(st.sampled_from(('annotations',) * 4 + ('images',) * 2 + ('categories',)))
    key = draw(st.sampled_from(TABLES[table]))
    if draw(st.integers(0, 9)) == 0:
        how = draw(st.sampled_from(('twice', 'gone', 'reversed', 'object', 'no table')))
    else:
        forms = ['dropped', *BROKEN, *MOVED, 'swapped']
        if key == 'bbox':
            forms += ['corners', 'transposed', 'centre', 'share'] * 2
        how = draw(st.sampled_from(forms))
    which = draw(st.sampled_from(('all', 'half', 'one')))
    return dict(split=split, table=table, key=key, how=how, which=which)


def break_coco(root, fault):
    path = root / 'annotations' / f'instances_{fault["split"]}.json'
    told = json.loads(path.read_text())
    rows, how, key = told[fault['table']], fault['how'], fault['key']
    chosen = dict(all=rows[:], half=rows[::2], one=rows[1:2])[fault['which']]
    if how == 'twice':
        rows += deepcopy(chosen)
    elif how == 'gone':
        told[fault['table']] = [row for row in rows if row not in chosen]
    elif how == 'reversed':
        rows.reverse()
    elif how == 'object':
        told[fault['table']] = {str(i): row for i, row in enumerate(rows)}
    elif how == 'no table':
        del told[fault['table']]
    else:
        for row in rows:
            row['_old'] = deepcopy(row.get(key))
        for row in chosen:
            value = altered(row[key], how, row, rows)
            if value is ...:
                del row[key]
            else:
                row[key] = value
        for row in rows:
            row.pop('_old')
    path.write_text(json.dumps(told))


PICTURES = (
    'turned', 'turned by EXIF', 'cut', 'smaller', 'empty', 'truncated', 'gone', 'grey', 'alpha',
    'palette', '16 bits', 'other format', 'text', 'bmp suffix',
)  # fmt: skip


def break_picture(path, how):
    picture = Image.open(path)
    picture.load()
    if how == 'turned':
        picture.transpose(Image.Transpose.ROTATE_90).save(path)
    elif how == 'turned by EXIF':
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    elif how == 'cut':
        picture.crop((0, 0, 40, 40)).save(path)
    elif how == 'smaller':
        picture.resize((32, 24)).save(path)
    elif how == 'empty':
        path.write_bytes(b'')
    elif how == 'truncated':
        path.write_bytes(path.read_bytes()[:-40])
    elif how == 'gone':
        path.unlink()
    elif how == 'grey':
        picture.convert('L').save(path)
    elif how == 'alpha':
        picture.convert('RGBA').save(path)
    elif how == 'palette':
        picture.quantize(64).save(path)
    elif how == '16 bits':
        grey = np.array(picture.convert('L')).astype(np.uint16)
        Image.fromarray(grey << 2).save(path)
    elif how == 'other format':
        picture.save(path, format='WEBP', lossless=True)
    elif how == 'text':
        path.write_text('Not found')
    else:
        path.rename(path.with_suffix('.PNG'))


LABELS = (
    'counted from 1', 'scaled', 'all ignored', 'ignored background', 'colours', '16 bits', 'turned',
    'cut', 'smaller', 'empty', 'truncated', 'gone', 'text', 'black', 'palette', 'wide',
    'one too many', 'other suffix', 'black and white',
)  # fmt: skip


def break_labels(path, how):
    if how in ('empty', 'truncated', 'gone', 'text', 'turned', 'cut'):
        break_picture(path, how)
        return
    ids = np.array(Image.open(path))
    if how == 'other suffix':
        path.rename(path.with_name(f'{path.stem}_mask.png'))
    elif how == 'smaller':
        Image.fromarray(ids).resize((32, 24), Image.Resampling.NEAREST).save(path)
    elif how == 'colours':
        Image.fromarray(np.stack([ids * 60] * 3, 2)).save(path)
    elif how == '16 bits':
        Image.fromarray(ids.astype(np.uint16)).save(path)
    elif how == 'wide':
        Image.fromarray(ids.astype(np.uint16) + 256).save(path)
    elif how == 'palette':
        picture = Image.fromarray(ids)
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        picture.save(path)
    else:
        changed = {
            'counted from 1': ids + 1,
            'scaled': ids * 85,
            'all ignored': np.full_like(ids, 255),
            'ignored background': np.where(ids == 0, 255, ids),
            'black': np.zeros_like(ids),
            'black and white': np.where(ids > 0, 255, 0).astype(np.uint8),
            'one too many': np.where(ids == 3, 4, ids).astype(np.uint8),
        }[how]
        Image.fromarray(changed).save(path)


@st.composite
def picture_faults(draw, kinds):
    return dict(
        split=draw(st.sampled_from(tuple(COUNTS))),
        how=draw(st.sampled_from(kinds)),
        which=draw(st.sampled_from(('all', 'half', 'one'))),
    )


def chosen_files(folder, which):
    files = sorted(folder.iterdir())
    return dict(all=files, half=files[::2], one=files[1:2])[which]


# Words of which one must stand in what is said of a fault, by what it touches.
WORDS = dict(
    id=('id', 'picture', 'annotation'),
    image_id=('image_id', 'of no picture', 'any of its', 'picture True'),
    category_id=('category_id', 'of classes that', 'class'),
    bbox=('bbox', 'box', 'outside their picture', 'less than a pixel'),
    area=('area',),
    iscrowd=('iscrowd', 'crowds'),
    segmentation=('segmentation', 'polygons'),
    file_name=('file_name', 'name', '.png'),
    width=('width', 'wide'),
    height=('height', 'high'),
    name=('name', 'categories', 'class'),
)
TABLE_WORDS = dict(
    annotations=('annotation', 'object'),
    images=('images', 'picture', 'image'),
    categories=('categor', 'class'),
)


def is_another_truth(fault):
    """Tell whether what a fault leaves could be meant so, which nobody but its author can know."""
    table, key, how = (fault.get(name) for name in ('table', 'key', 'how'))
    if table is None:
        return how == 'black' and fault['which'] != 'all'  # A picture of background.
    if how == 'gone':
        return True  # Less objects.
    if (table, how) == ('images', 'reversed'):
        return True  # Rounding in another order: other proposals of nearly the same score are kept.
    if table == 'annotations' and key in ('image_id', 'category_id'):
        return how in ('swapped', 'doubled')  # Those of other pictures and classes.
    if (table, key) == ('annotations', 'iscrowd'):
        return how == 'true'
    if (table, how) == ('categories', 'swapped'):
        return True  # Classes are what their names say, under whatever ids.
    if table == 'images' and how == 'swapped':
        return True  # All are of one size.
    return False


def check(run, clean, root, config, fault, apply, words):
    """Run on a copy of the clean data with a fault."""
    expected = run.expected.get(config)
    if expected is None:
        expected, said = run(clean, config)
        assert said == []
        run.expected[config] = expected
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(clean, root)
    apply(root, fault)
    found, said = run(root, config)
    if found is None:
        (sentence,) = said
        assert '\n' not in sentence and sentence.endswith('.')
    elif same(found, expected) or (not said and is_another_truth(fault)):
        return
    assert any(word in text for text in said for word in words), (fault, said)


def settle(count):
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@settle(180)
@given(fault=coco_faults())
def test_annotations(run, clean, tmp_path_factory, fault):
    root = tmp_path_factory.getbasetemp() / 'broken'
    of_table = fault['how'] in ('twice', 'gone', 'reversed', 'object', 'no table')
    words = TABLE_WORDS[fault['table']] if of_table else WORDS[fault['key']]
    check(run, clean, root, DETECTOR, fault, break_coco, words)


@settle(30)
@given(fault=picture_faults(PICTURES))
def test_pictures_of_objects(run, clean, tmp_path_factory, fault):
    root = tmp_path_factory.getbasetemp() / 'broken'
    check(run, clean, root, DETECTOR, fault, break_files('', break_picture), ('.png',))


@settle(30)
@given(fault=picture_faults(PICTURES))
def test_pictures_of_label_maps(run, clean, tmp_path_factory, fault):
    root = tmp_path_factory.getbasetemp() / 'broken'
    words = ('.png', '.PNG', 'Image folder')
    check(run, clean, root, SEGMENTOR, fault, break_files('', break_picture), words)


@settle(60)
@given(fault=picture_faults(LABELS))
def test_label_maps(run, clean, tmp_path_factory, fault):
    root = tmp_path_factory.getbasetemp() / 'broken'
    words = ('abel map', 'masks/')
    check(run, clean, root, SEGMENTOR, fault, break_files('masks', break_labels), words)


def break_files(folder, change):
    def apply(root, fault):
        for path in chosen_files(root / folder / fault['split'], fault['which']):
            change(path, fault['how'])

    return apply
