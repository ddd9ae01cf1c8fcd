"""LoadSegAnnotations: mmseg's label map, or one sentence about the wrong one."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.runner import BaseLoop
from PIL import Image
from torch import nn

from mmspike.datasets import LoadSegAnnotations
from mmspike.engine import UserError

ALL_IDS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def results(path, ids, **others):
    """What a dataset of mmseg hands to its pipeline."""
    image = Image.fromarray(ids)
    if ids.dtype == np.uint8 and ids.ndim == 2:
        image.putpalette(np.random.default_rng(0).integers(0, 255, 768, np.uint8).tobytes())
    image.save(path)
    return dict(
        dict(
            img_path='image.jpg',
            seg_map_path=str(path),
            ori_shape=ids.shape[:2],
            label_map=None,
            reduce_zero_label=False,
            seg_fields=[],
        ),
        **others,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'label.png'


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 255, 2: 0}])
def test_same_ids_as_in_mmseg(path, reduce_zero_label, label_map):
    mmseg = pytest.importorskip('mmseg.datasets.transforms', reason='compares with mmseg')
    options = dict(reduce_zero_label=reduce_zero_label, label_map=label_map)
    ours = LoadSegAnnotations()(results(path, ALL_IDS, **options))
    stock = mmseg.LoadAnnotations()(results(path, ALL_IDS, **options))
    assert ours.keys() == stock.keys() and ours['seg_fields'] == ['gt_seg_map']
    assert ours['gt_seg_map'].dtype == stock['gt_seg_map'].dtype
    assert np.array_equal(ours['gt_seg_map'], stock['gt_seg_map'])


@pytest.mark.parametrize(
    'options, fine, wrong, named',
    [
        (dict(), [0, 2, 255], [3, 254], 'go from 0 to 2 (ignored: 255)'),
        (
            dict(reduce_zero_label=True),
            [0, 1, 3, 255],
            [4, 254],
            'from 1 to 3 (ignored: 0 and 255)',
        ),
        (dict(label_map={0: 255, 1: 0, 2: 1, 3: 255, 4: 2}), [0, 4, 255], [5], 'from 0 to 4'),
    ],
)
def test_ids_outside_the_classes(path, options, fine, wrong, named):
    load = LoadSegAnnotations(num_classes=3)
    load(results(path, np.uint8([fine, fine]), **options))
    for number in wrong:
        with pytest.raises(UserError) as caught:
            load(results(path, np.uint8([[number] * 3, [1] * 3]), **options))
        assert f"'{path}' holds the id {number}, " in caught.value.sentence
        assert named in caught.value.sentence


def test_another_ignored_id(path):
    ids = np.uint8([[0, 9], [1, 1]])
    LoadSegAnnotations(num_classes=2, ignore_index=9)(results(path, ids))
    with pytest.raises(UserError, match='ignored: 255'):
        LoadSegAnnotations(num_classes=2)(results(path, ids))


@pytest.mark.parametrize('num_classes', [None, 150])
def test_ids_of_16_bits_do_not_wrap(path, num_classes):
    with pytest.raises(UserError, match='holds the id 300'):
        LoadSegAnnotations(num_classes)(results(path, np.uint16([[300, 1], [1, 2]])))


def test_a_bitmap_is_fine(path):
    loaded = LoadSegAnnotations(num_classes=2)(results(path, np.array([[True, False]] * 2)))
    assert loaded['gt_seg_map'].tolist() == [[1, 0]] * 2


def test_another_size(path):
    expected = r"'.*label.png' is 4x2 pixels, but its image 'image.jpg' is 6x2"
    with pytest.raises(UserError, match=expected):
        LoadSegAnnotations()(results(path, np.zeros((2, 4), np.uint8), ori_shape=(2, 6)))


def test_colours(path):
    with pytest.raises(UserError, match='3 channels of colour'):
        LoadSegAnnotations()(results(path, np.zeros((2, 4, 3), np.uint8)))
    with pytest.raises(UserError, match='4 channels of colour'):
        LoadSegAnnotations()(results(path, np.zeros((2, 4, 4), np.uint8)))
    palette = results(path, np.zeros((2, 4), np.uint8))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3
    with pytest.raises(UserError, match="imdecode_backend='pillow'"):
        LoadSegAnnotations(imdecode_backend='cv2')(palette)


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize(
    'content, reason',
    [(b'', 'is empty'), (b'no image', 'cannot be read as a label map'), (None, 'No such file')],
)
def test_broken_files(path, backend, content, reason):
    data = results(path, np.zeros((2, 4), np.uint8))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        LoadSegAnnotations(imdecode_backend=backend)(data)


def test_truncated(path):
    data = results(path, ALL_IDS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match='is truncated after'):
        LoadSegAnnotations()(data)


def test_a_single_image_has_no_label_map():
    """As where mmseg's inferencer predicts: it takes only its own loader out of the pipeline."""
    assert LoadSegAnnotations()(dict(img_path='a.png')) == dict(img_path='a.png')
    with pytest.raises(UserError, match="'a.png' has no label map.*seg_map_path"):
        LoadSegAnnotations()(dict(img_path='a.png', seg_fields=[]))


def test_a_stack_of_label_maps_is_refused(tmp_path):
    path = tmp_path / 'stack.tif'
    pages = [Image.fromarray(np.zeros((4, 4), np.uint8)) for _ in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    told = dict(img_path='a.png', seg_map_path=str(path), ori_shape=(4, 4), seg_fields=[])
    with pytest.raises(UserError, match="Label map '.*' is a stack of 2 pages"):
        LoadSegAnnotations()(told)


@pytest.mark.parametrize(
    'loader, head, options, ids, learnt',
    [
        (255, 255, {}, [0, 1, 255], [0, 1, 255]),
        (254, 255, {}, [0, 1, 254], [0, 1, 255]),
        (255, 254, {}, [0, 1, 254, 255], [0, 1, 254, 254]),
        (254, 254, dict(reduce_zero_label=True), [0, 1, 2], [254, 0, 1]),
        (255, 99, dict(label_map={0: 1, 1: 255, 2: 0}), [0, 1, 2], [1, 99, 0]),
        (255, -100, {}, [0, 1, 255], [0, 1, 255]),
        (255, 0, {}, [0, 1, 255], [0, 1, 255]),
    ],
)
def test_one_ignored_id_in_loader_head_loss_and_metric(path, loader, head, options, ids, learnt):
    """The loader writes what the heads ignore, and losses and metrics ignore the same."""
    heads = pytest.importorskip('mmseg.models', reason='heads and losses of mmseg')
    metrics = pytest.importorskip('mmseg.evaluation', reason='a metric of mmseg')
    from mmspike.hooks.follow_model_hook import FollowModelHook

    load = LoadSegAnnotations(ignore_index=loader)
    model = nn.Module()
    losses = [dict(type='TverskyLoss'), dict(type='CrossEntropyLoss')]
    numbers = dict(in_channels=4, channels=4, num_classes=2, loss_decode=losses)
    model.decode_head = heads.decode_heads.FCNHead(**numbers, ignore_index=head)
    model.auxiliary_head = heads.decode_heads.FCNHead(**numbers)
    dataset = SimpleNamespace(pipeline=[load], metainfo=dict(classes=('a', 'b')))
    loop = EvaluatingLoop(dataset, metrics.IoUMetric(ignore_index=loader))
    runner = SimpleNamespace(model=model, _train_loop=None, _val_loop=loop, _test_loop=None)
    for _ in range(2):
        FollowModelHook().before_run(runner)
        found = load(results(path, np.array([ids, ids], np.uint8), **options))['gt_seg_map']
        assert found.tolist() == [learnt, learnt]
    ignored = {head if 0 <= head <= 255 else 255}
    if head:  # 0 is a class, and left alone.
        tversky = model.decode_head.loss_decode[0]
        places = model.decode_head, model.auxiliary_head, tversky, loop.evaluator.metrics[0]
        assert {place.ignore_index for place in places} == ignored


class EvaluatingLoop(BaseLoop):
    def __init__(self, dataset, metric):
        self._dataloader = self.dataloader = SimpleNamespace(dataset=dataset)
        self.evaluator = SimpleNamespace(metrics=[metric])

    def run(self):
        """Abstract in mmengine."""
