"""tools/infer.py and mmspike.apis: what a user gets for a picture, a folder, a video, a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from threads import one_thread

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.apis import Inferencer
from mmspike.commands.drawing import Painter
from mmspike.commands.infer import infer
from mmspike.datasets.shapes import draw_scene
from mmspike.errors import UserError

ROOT = Path(__file__).parents[2]
BACKBONE = """
backbone = dict(type='mmspike.MetaSpikeFormer', time_steps=2, time_reduction='mean',
                arch=dict(dims=(8,) * 5, depths=(1,) * 5, heads=2), out_indices=(2, 4))
load = dict(type='mmspike.LoadImageFromFile')
"""
SEGMENTATION = (
    BACKBONE
    + """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
    backbone=backbone, test_cfg=dict(mode='whole'),
    decode_head=dict(type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=1,
                     num_classes=3, norm_cfg=dict(type='BN')))
metainfo = dict(classes=('sky', 'road', 'tree'),
                palette=[[250, 0, 0], [0, 250, 0], [0, 0, 250]])
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', metainfo=metainfo, data_prefix=dict(img_path='', seg_map_path=''),
    pipeline=[load, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
"""
)
CLASSIFICATION = (
    BACKBONE
    + """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier', data_preprocessor=dict(num_classes=3), backbone=backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=8))
test_dataloader = dict(dataset=dict(
    type='CustomDataset', data_prefix='images', metainfo=dict(classes=('cat', 'dog', 'owl')),
    pipeline=[load, dict(type='ResizeEdge', scale=48), dict(type='PackInputs')]))
"""
)
DETECTION = """
_base_ = ['{root}/configs/mask_rcnn_metaspike-tiny_t1_shapes.py']
model = dict(
    backbone=dict(arch=dict(dims=(8,) * 5, depths=(1,) * 5, heads=2), time_steps=2),
    neck=dict(in_channels=[8] * 4, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=50), rcnn=dict(score_thr=0.0, max_per_img=10)))
"""
CONFIGS = dict(mmseg=SEGMENTATION, mmpretrain=CLASSIFICATION, mmdet=DETECTION)


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    with one_thread():
        yield


def scene():
    return draw_scene(np.random.default_rng(0), 64)[0][:48]


@torch.no_grad()
def _spread_classes(segmentor):
    """Let no class win everywhere: an untrained head knows one only."""
    last = segmentor.decode_head.conv_seg
    last.weight.normal_()
    logits = segmentor(torch.from_numpy(scene()).permute(2, 0, 1).float()[None])
    last.bias.copy_(-logits.mean(dim=(0, 2, 3)))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Write the config and the lively checkpoint of a library's model, once."""
    made = {}

    def make(scope, meta=None):
        pytest.importorskip(scope, reason='runs a model of this library')
        if (scope, str(meta)) not in made:
            folder = tmp_path_factory.mktemp(scope)
            config = folder / 'model.py'
            config.write_text(CONFIGS[scope].replace('{root}', str(ROOT)))
            torch.manual_seed(0)
            with DefaultScope.overwrite_default_scope(scope):
                built = MODELS.build(Config.fromfile(config).model)
            randomize_norms(built)
            if scope == 'mmseg':
                _spread_classes(built.eval())
            state = dict(state_dict=built.state_dict(), meta=dict(dataset_meta=meta))
            torch.save(state, folder / 'model.pth')
            made[scope, str(meta)] = config, folder / 'model.pth'
        return made[scope, str(meta)]

    return make


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    """A picture with shapes, wider than high."""
    path = tmp_path_factory.mktemp('input') / 'scene.png'
    cv2.imwrite(str(path), scene())
    return path


def run(model, path, out_dir, *options):
    result = infer([*map(str, [*model, path, '--out-dir', out_dir, *options])])
    written = json.loads((out_dir / 'predictions.json').read_text())
    assert written['predictions'] == result['predictions'], 'a dict that JSON changes'
    return written


def refusal(*argv):
    with pytest.raises(UserError) as caught:
        infer([str(item) for item in argv])
    assert caught.value.sentence.count('\n') == 0 and caught.value.sentence.endswith('.')
    return caught.value.sentence


def test_segmentation_paints_the_classes_of_its_label_map(model, picture, tmp_path):
    written = run(model('mmseg'), picture, tmp_path)
    (entry,) = written['predictions']
    assert (entry['width'], entry['height']) == (64, 48)
    label_map = cv2.imread(str(tmp_path / entry['label_map']), cv2.IMREAD_UNCHANGED)
    assert label_map.shape == (48, 64)
    shares = {c['class']: c['share'] for c in entry['classes']}
    names = ('sky', 'road', 'tree')
    assert shares == {names[i]: (label_map == i).mean() for i in np.unique(label_map)}
    drawn = cv2.imread(str(tmp_path / entry['picture']))[..., ::-1]
    factor = 480 / 48
    y, x = np.argwhere(label_map == label_map[20, 30])[0]
    color = drawn[int((y + 0.5) * factor), int((x + 0.5) * factor)].astype(int)
    assert color.argmax() == label_map[20, 30], 'pure red, green and blue are laid over'


def test_segmentation_equals_the_model_run_by_hand(model, picture, tmp_path):
    """The independent truth: weights, normalisation and argmax written out."""
    config, checkpoint = model('mmseg')
    found = Inferencer(config, checkpoint)(picture, show_progress=False)['predictions'][0]
    with DefaultScope.overwrite_default_scope('mmseg'):
        net = MODELS.build(Config.fromfile(config).model).eval()
    net.load_state_dict(torch.load(checkpoint)['state_dict'])
    image = torch.from_numpy(cv2.imread(str(picture))).permute(2, 0, 1).float()[None]
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(net(image), (48, 64), mode='bilinear')
    assert np.unique(found['label_map']).size > 1
    assert np.array_equal(found['label_map'], logits[0].argmax(0).numpy())


def test_detection_writes_boxes_and_masks_in_pixels(model, picture, tmp_path):
    from pycocotools import mask as coco_mask

    written = run(model('mmdet'), picture, tmp_path, '--score-thr', '0.2')
    (entry,) = written['predictions']
    assert entry['instances'], 'a lively model finds something'
    for instance in entry['instances']:
        x1, y1, x2, y2 = instance['bbox']
        assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 48
        assert instance['score'] >= 0.2
        assert instance['class'] == ('circle', 'rectangle', 'triangle')[instance['label']]
        assert coco_mask.decode(instance['mask']).shape == (48, 64)
    none = run(model('mmdet'), picture, tmp_path / 'none', '--score-thr', '1')
    assert none['predictions'][0]['instances'] == []


@pytest.mark.parametrize('threshold', ['30', '-0.1', 'nan'])
def test_a_threshold_that_is_no_score_is_refused_before_anything_is_built(threshold):
    sentence = refusal('no_config.py', 'no.pth', 'no.png', '--score-thr', threshold)
    assert sentence == (
        f'the score threshold is {threshold}, but scores go from 0 to 1; give a threshold in '
        'between, such as 0.3 for 30 %.'
    )


def test_the_inferencer_refuses_a_threshold_that_is_no_score(model, picture, tmp_path):
    inferencer = Inferencer(*model('mmpretrain'))
    with pytest.raises(UserError, match='the score threshold is 30, but scores go from 0 to 1'):
        inferencer(picture, tmp_path / 'out', pred_score_thr=30)
    assert not (tmp_path / 'out').exists()


def test_detector_without_masks(model, picture, tmp_path):
    no_masks = ['model.roi_head.mask_head=None', 'model.roi_head.mask_roi_extractor=None']
    options = ['--score-thr', '0.2', '--cfg-options', *no_masks]
    (entry,) = run(model('mmdet'), picture, tmp_path, *options)['predictions']
    assert entry['instances'] and all('mask' not in found for found in entry['instances'])


def test_classification_names_the_best(model, picture, tmp_path):
    (entry,) = run(model('mmpretrain'), picture, tmp_path)['predictions']
    scores = [best['score'] for best in entry['best']]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1)
    assert entry['class'] == ('cat', 'dog', 'owl')[entry['label']] == entry['best'][0]['class']
    assert (tmp_path / entry['picture']).is_file()


def test_names_in_the_checkpoint_come_first(model, picture):
    meta = dict(classes=('a', 'b', 'c'))
    inferencer = Inferencer(*model('mmpretrain', meta))
    result = inferencer(picture, show_progress=False)
    assert result['predictions'][0]['class'] in meta['classes']


def test_folder_is_sorted_and_a_broken_image_does_not_lose_the_rest(model, picture, tmp_path):
    folder = tmp_path / 'in'
    (folder / 'deeper').mkdir(parents=True)
    for name in ('b.png', 'a.png', 'c.png', 'deeper/d.png'):
        (folder / name).write_bytes(picture.read_bytes())
    image = cv2.imread(str(picture))
    cv2.imwrite(str(folder / 'a.bmp'), image)
    (folder / 'b.png').write_bytes(picture.read_bytes()[:-40])
    (folder / 'notes.txt').write_text('not a picture')
    out = tmp_path / 'out'
    argv = [*model('mmpretrain'), folder, '--out-dir', out]
    assert "1 of 4 images could not be used ('b.png')" in refusal(*argv)
    written = json.loads((out / 'predictions.json').read_text())
    done = [Path(entry['file']).name for entry in written['predictions']]
    assert done == ['a.bmp', 'a.png', 'c.png']
    pictures = {entry['picture'] for entry in written['predictions']}
    assert pictures == {'pictures/a_bmp.png', 'pictures/a_png.png', 'pictures/c.png'}
    (failed,) = written['failed']
    assert failed['file'] == str(folder / 'b.png') and 'is truncated' in failed['reason']


def test_video_gives_a_video_and_an_entry_a_frame(model, picture, tmp_path):
    path = tmp_path / 'clip.avi'
    image = cv2.imread(str(picture))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for step in range(3):
        writer.write(np.roll(image, 8 * step, axis=1))
    writer.release()
    written = run(model('mmseg'), path, tmp_path / 'out')
    assert [entry['frame'] for entry in written['predictions']] == [0, 1, 2]
    assert [entry['time'] for entry in written['predictions']] == [0, 0.2, 0.4]
    maps = {entry['label_map'] for entry in written['predictions']}
    assert maps == {f'label_maps/clip_{i:06d}.png' for i in range(3)}
    capture = cv2.VideoCapture(str(tmp_path / 'out' / written['predictions'][0]['video']))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and capture.get(cv2.CAP_PROP_FPS) == 5
    shown, frame = capture.read()
    assert shown and frame.shape[0] == 480 and frame.shape[1] > 640, 'the legend stands beside'


def test_a_video_of_which_the_end_is_missing(model, tmp_path, capsys):
    """A copy that broke off: what can be read is done, and how much that is, said."""
    whole, cut = tmp_path / 'whole.avi', tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for _ in range(8):
        writer.write(np.roll(scene(), 8, axis=1))
    writer.release()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    written = run(model('mmpretrain'), cut, tmp_path / 'out')
    read = len(written['predictions'])
    assert 0 < read < 8
    (failed,) = written['failed']
    assert f"of the 8 frames that '{cut}' tells of, {read} could be read" in failed['reason']
    assert failed['reason'] in capsys.readouterr().out
    assert run(model('mmpretrain'), whole, tmp_path / 'out')['failed'] == []


def test_what_a_folder_holds_beside_pictures_is_said(model, picture, tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('a.png', 'b.heic', 'clip.mp4', '.hidden'):
        (folder / name).write_bytes(picture.read_bytes())
    written = run(model('mmpretrain'), folder, tmp_path / 'out')
    assert len(written['predictions']) == 1
    assert f"2 in '{folder}' passed over" in capsys.readouterr().out


def test_arrays_in_and_pictures_back_without_files(model, picture):
    inferencer = Inferencer(*model('mmpretrain'))
    image = cv2.imread(str(picture))
    of_arrays = inferencer([image, image], return_vis=True, show_progress=False)
    of_file = inferencer(picture, show_progress=False)
    assert [p['best'] for p in of_arrays['predictions']] == 2 * [of_file['predictions'][0]['best']]
    assert [vis.shape[0] for vis in of_arrays['visualization']] == [480, 480]


def test_pillow_images_are_those_of_their_files(model, picture):
    inferencer = Inferencer(*model('mmpretrain'))
    image = Image.open(picture)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # To be turned back by 90 degrees.
    given = [image, turned, image.convert('RGBA'), Path(picture)]
    found = inferencer(given, show_progress=False)['predictions']
    assert [(f['width'], f['height']) for f in found] == 4 * [image.size]
    assert [f['best'] for f in found] == 4 * [found[-1]['best']]
    assert inferencer(image, show_progress=False)['predictions'][0]['best'] == found[-1]['best']


@pytest.mark.parametrize(
    'item, named',
    [
        (torch.zeros(8, 8, 3), 'an input is a Tensor'),
        (b'bytes of a file', 'an input is a bytes'),
        (0, 'an input is a int'),
        (None, 'an input is a NoneType'),
        (dict(img=0), 'an input is a dict'),
        (Image.new('I;16', (8, 8)), "the Pillow image has the mode 'I;16'"),
        (Image.new('F', (8, 8)), "the Pillow image has the mode 'F'"),
    ],
)
def test_other_kinds_of_input_do_not_stop_the_others(model, item, named):
    inferencer = Inferencer(*model('mmpretrain'))
    with pytest.raises(UserError, match=named):
        inferencer(item, show_progress=False)
    result = inferencer([NOISE, item], show_progress=False)
    assert len(result['predictions']) == 1 and named in result['failed'][0]['reason']


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('nowhere', "'{path}' is not there; give an image, a folder or a video"),
        ('empty', "Folder '{path}' holds no image"),
        ('notes.txt', "'{path}' is neither an image"),
        ('broken.png', "'{path}' cannot be read as an image"),
        ('broken.mp4', "'{path}' cannot be read as a video"),
    ],
)
def test_input_that_cannot_be_used(model, tmp_path, name, sentence):
    (tmp_path / 'empty').mkdir()
    for file in ('notes.txt', 'broken.png', 'broken.mp4'):
        (tmp_path / file).write_text('no picture')
    path = tmp_path / name
    argv = [*model('mmpretrain'), path, '--out-dir', tmp_path / 'out']
    assert sentence.format(path=path) in refusal(*argv)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--cfg-options', 'default_scope=mmpose'], "is 'mmpose', but it must be one of mmdet"),
        (['--device', 'cuda:7'], "'cuda:7', which this machine does not offer"),
        (['--cfg-options', 'model.head.num_classes=4'], '(3, 8) there and (4, 8) in the config'),
        (
            ['--cfg-options', 'test_dataloader.dataset.pipeline.0.type=mmseg.Resize'],
            'must begin with mmspike.LoadImageFromFile',
        ),
    ],
)
def test_model_that_cannot_be_used(model, picture, tmp_path, options, sentence):
    assert sentence in refusal(*model('mmpretrain'), picture, '--out-dir', tmp_path, *options)


def test_library_that_is_not_installed(model, picture, tmp_path, monkeypatch):
    files = model('mmseg')
    monkeypatch.setattr('mmspike.hosts.find_spec', lambda name: None)
    assert 'needs mmseg, which is not installed' in refusal(*files, picture, '--out-dir', tmp_path)


def test_a_palette_shorter_than_the_classes_is_replaced(model, picture, tmp_path):
    meta = dict(classes=('sky', 'road', 'tree'), palette=[[250, 0, 0]])
    (entry,) = run(model('mmseg', meta), picture, tmp_path)['predictions']
    assert (tmp_path / entry['picture']).is_file()


def test_pictures_are_not_written_over_the_inputs(model, picture, tmp_path):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    (folder / 'a.png').write_bytes(picture.read_bytes())
    sentence = refusal(*model('mmpretrain'), folder, '--out-dir', tmp_path)
    assert 'choose another --out-dir' in sentence
    assert (folder / 'a.png').read_bytes() == picture.read_bytes()


@pytest.mark.parametrize('count', [3, 150])
def test_legend_of_many_classes_holds_those_in_the_picture(count):
    palette = [(250 - i, i, 100) for i in range(count)]
    painter = Painter([f'class {i}' for i in range(count)], palette)
    label_map = np.repeat([[0, 2]], 8, axis=0).repeat(4, axis=1)
    drawn = painter.segmentation(np.full((8, 8, 3), 128, np.uint8), label_map)
    legend = drawn[:, 480:].reshape(-1, 3)
    shown = {i for i in range(count) if (legend == palette[i]).all(axis=1).sum() > 50}
    assert shown == ({0, 1, 2} if count == 3 else {0, 2})


@pytest.mark.slow
def test_importing_the_api_imports_none_of_the_libraries():
    code = 'import sys, mmspike.apis; print({"mmdet", "mmseg", "mmpretrain"} & set(sys.modules))'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == 'set()'


NOISE = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
ODD_ARRAYS = {
    'grey': (NOISE[..., 0], 'C = 3 channels'),
    'rgba': (NOISE[..., [0, 1, 2, 0]], 'C = 3 channels'),
    'nan': (np.where(NOISE > 9, NOISE, np.float32('nan')), 'has a pixel that is nan'),
    'no pixel': (NOISE[:0], 'uint8 of shape (0, 50, 3), but it must be an array of numbers'),
    'text': (np.array(['a']), 'but it must be an array of numbers'),
    'a batch': (NOISE[None], 'of shape (1, 40, 50, 3), but it must be an array'),
    'integers of 64 bit': (NOISE.astype(int), 'cannot transform an image of 50x40 pixels of int64'),
}


@pytest.mark.parametrize('name', ODD_ARRAYS)
def test_an_array_that_is_no_image_does_not_stop_the_others(model, name):
    array, words = ODD_ARRAYS[name]
    inferencer = Inferencer(*model('mmpretrain'))
    with pytest.raises(UserError) as caught:
        inferencer(array, show_progress=False)
    assert words in caught.value.sentence
    result = inferencer([NOISE, array, NOISE], show_progress=False)
    assert len(result['predictions']) == 2
    assert [words in failed['reason'] for failed in result['failed']] == [True]
    assert result['failed'][0]['file'] == '1', 'its place in the list'


def test_an_image_longer_than_resize_can_shrink(model):
    with pytest.raises(UserError, match='cannot transform an image of 1000x1 pixels of uint8'):
        Inferencer(*model('mmdet'))(np.zeros((1, 1000, 3), np.uint8), show_progress=False)


@pytest.mark.parametrize('channels', [(), (1,), (4,)])
def test_files_of_grey_and_rgba_are_opened_as_colours(model, channels, tmp_path):
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), np.full((40, 50, *channels), 200, np.uint8))
    (entry,) = Inferencer(*model('mmseg'))(path, show_progress=False)['predictions']
    assert entry['label_map'].shape == (40, 50)


@pytest.mark.parametrize('name', ['..', '...png', '..png', '../other.png', 'a/../../b.png'])
def test_pictures_stay_in_the_output_folder(model, name, tmp_path):
    """Whatever an input is called, also where two have one name."""
    out, folder = tmp_path / 'out' / 'deep', tmp_path / 'in' / 'a'
    (folder / 'a').mkdir(parents=True)
    path = folder / name
    if name != '..':
        cv2.imwrite(str(path.with_name('x.png')), NOISE)
        path.with_name('x.png').rename(path)
    before = {p for p in tmp_path.rglob('*') if p.is_file()}
    twice = [path, path]
    Inferencer(*model('mmseg'))([*twice, NOISE], out, show_progress=False)
    written = {p for p in tmp_path.rglob('*') if p.is_file()} - before
    assert all(out in p.parents for p in written)
    assert len(written) == (7 if name != '..' else 3)
