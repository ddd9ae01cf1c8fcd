"""What a user can get wrong with label maps, classes and the checkpoint to start from."""

import shutil
from pathlib import Path

import cli
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from mmspike.engine import load_config

from .conftest import arguments
from .test_bad_input import refusal

pytestmark = pytest.mark.slow

pytest.importorskip('mmseg', reason='the tools are tested with an mmseg model')
FCN = Path(__file__).with_name('tiny_fcn.py')
LABEL = 'masks/val/000003.png'


def refused_training(shapes, tmp_path, *options, flags=(), config=FCN):
    argv = arguments(shapes, tmp_path / 'work', *options, config=config, flags=flags)
    return refusal(cli.train, *argv)


def refused_test(shapes, tmp_path, checkpoint, *options):
    argv = arguments(shapes, tmp_path / 'work', *options)
    return refusal(cli.test, FCN, checkpoint, *argv)


def save(path, ids):
    Image.fromarray(ids).save(path)
    return path


@pytest.fixture(scope='module')
def trained_fcn(shapes, tmp_path_factory):
    """The checkpoint of one epoch with four classes."""
    work_dir = tmp_path_factory.mktemp('trained_fcn')
    cli.train(arguments(shapes, work_dir, config=FCN))
    return work_dir / 'epoch_1.pth'


@pytest.mark.parametrize('workers', [0, 1])
def test_label_id_outside_the_classes(own_shapes, tmp_path, trained_fcn, workers):
    ids = np.zeros((64, 64), np.uint8)
    ids[5, 5], ids[6, 6] = 7, 255
    path = save(own_shapes / LABEL, ids)
    sentence = refused_test(
        own_shapes, tmp_path, trained_fcn, f'test_dataloader.num_workers={workers}'
    )
    assert sentence.startswith(f"Label map '{path}' holds the id 7, but those of its classes go")
    assert 'from 0 to 3 (ignored: 255)' in sentence


@pytest.mark.parametrize('other, said', [(0, '0 and 255'), (255, '255')])
def test_masks_in_black_and_white(own_shapes, tmp_path, other, said):
    """With 255 ignored, a model that always says 0 would score 100."""
    ids = np.full((64, 64), other, np.uint8)
    ids[8:20, 8:20] = 255
    for path in own_shapes.glob('masks/train/*.png'):
        save(path, ids)
    sentence = refused_training(own_shapes, tmp_path)
    assert sentence.startswith(f'The label maps of the dataset hold only {said} (in 6 looked at')
    assert sentence.endswith('the dataset has 4: write class ids, 1 in the place of 255.')
    save(path, ids // 255)  # One map with another class is enough.
    cli.train(arguments(own_shapes, tmp_path / 'good', config=FCN))


def test_spare_classes_of_the_model_are_warned_of(shapes, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger, 'log', lambda self, level, text, *args: said.append(text))
    option = 'model.decode_head.num_classes=6'
    cli.train(arguments(shapes, tmp_path, option, config=FCN))
    assert any('num_classes=6, but BaseSegDataset has 4 classes' in str(text) for text in said)


def test_label_id_under_wrapped_datasets_and_test_time_augmentation(own_shapes, tmp_path):
    """The number of classes reaches a loader wherever it stands."""
    save(own_shapes / LABEL, np.full((64, 64), 4, np.uint8))
    config = Config.fromfile(FCN)
    load, annotate, pack = config.dataset.pipeline
    steps = dict(type='TestTimeAug', transforms=[[annotate], [pack]])
    inner = dict(config.train_dataloader.dataset, pipeline=[load, steps])
    inner['data_prefix'] = dict(img_path='val', seg_map_path='masks/val')
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    config.train_dataloader.batch_size = 10  # All of them.
    config.dump(tmp_path / 'wrapped.py')
    sentence = refused_training(own_shapes, tmp_path, config=tmp_path / 'wrapped.py')
    assert 'holds the id 4' in sentence


def test_label_of_another_size(own_shapes, tmp_path, trained_fcn):
    path = save(own_shapes / LABEL, np.zeros((32, 64), np.uint8))
    sentence = refused_test(own_shapes, tmp_path, trained_fcn)
    assert f"'{path}' is 64x32 pixels" in sentence and '000003.png' in sentence
    assert 'is 64x64; ' in sentence


def test_palette_opened_as_colours(shapes, tmp_path, trained_fcn):
    backend = 'test_dataloader.dataset.pipeline.1.imdecode_backend=cv2'
    sentence = refused_test(shapes, tmp_path, trained_fcn, backend)
    assert '3 channels of colour, but one channel of class ids' in sentence
    assert "imdecode_backend='pillow'" in sentence


def test_missing_label(own_shapes, tmp_path):
    path = own_shapes / LABEL
    path.unlink()
    sentence = refused_training(own_shapes, tmp_path)
    image = own_shapes / 'val' / path.name
    assert f"Label map '{path}' of image '{image}' is not there (1 of 5" in sentence


def test_empty_label(own_shapes, tmp_path):
    (own_shapes / LABEL).write_bytes(b'')
    assert 'but a label map was expected' in refused_training(own_shapes, tmp_path)


def test_missing_label_folder(own_shapes, tmp_path):
    shutil.rmtree(own_shapes / 'masks' / 'train')
    sentence = refused_training(own_shapes, tmp_path)
    assert f"Label folder '{own_shapes}/masks/train' is not there" in sentence


def test_dataset_without_a_label_folder(shapes, tmp_path):
    config = Config.fromfile(FCN)
    del config.train_dataloader.dataset.data_prefix['seg_map_path']
    config.dump(tmp_path / 'unlabelled.py')
    sentence = refused_training(shapes, tmp_path, config=tmp_path / 'unlabelled.py')
    assert 'set data_prefix.seg_map_path' in sentence


@pytest.mark.parametrize('serialize', [True, False])
def test_empty_folder(own_shapes, tmp_path, serialize):
    for path in (own_shapes / 'train').iterdir():
        path.unlink()
    sentence = refused_training(
        own_shapes, tmp_path, f'train_dataloader.dataset.serialize_data={serialize}'
    )
    assert f"Image folder '{own_shapes}/train' is empty; give the right folder" in sentence


def test_wrong_suffix(shapes, tmp_path):
    sentence = refused_training(shapes, tmp_path, 'val_dataloader.dataset.img_suffix=.jpg')
    assert f"'{shapes}/val' holds no image" in sentence
    assert "'.jpg'" in sentence and "'000001.png'" in sentence and 'set img_suffix' in sentence


def test_empty_list_of_images(own_shapes, tmp_path):
    (own_shapes / 'train.txt').touch()
    sentence = refused_training(own_shapes, tmp_path, 'train_dataloader.dataset.ann_file=train.txt')
    assert f"Annotation file '{own_shapes}/train.txt' names no image" in sentence


def test_model_with_fewer_classes_than_the_dataset(shapes, tmp_path):
    sentence = refused_training(shapes, tmp_path, 'model.decode_head.num_classes=3')
    assert 'The model has num_classes=3, but BaseSegDataset has 4 classes' in sentence


def test_class_weights_of_another_number(shapes, tmp_path):
    weights = 'model.decode_head.loss_decode.class_weight=[1.0,2.0]'
    sentence = refused_training(shapes, tmp_path, weights)
    assert 'class_weight has 2 numbers, but num_classes of decode_head is 4' in sentence


def test_checkpoint_of_other_classes(shapes, tmp_path, trained_fcn):
    classes = 'model.decode_head.num_classes=21'
    counts = 'has num_classes=4 and the config num_classes=21'
    assert counts in refused_test(shapes, tmp_path, trained_fcn, classes)
    flags = ['--resume', str(trained_fcn)]
    assert counts in refused_training(shapes, tmp_path, classes, flags=flags)


def test_new_run_from_a_checkpoint_of_other_classes(shapes, tmp_path, trained_fcn, monkeypatch):
    """It trains, and one warning names both numbers."""
    said = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text, *args: said.append(text))
    options = [f'load_from={trained_fcn}', 'model.decode_head.num_classes=21']
    cli.train(arguments(shapes, tmp_path, *options, config=FCN))
    (warning,) = [text for text in said if 'num_classes=4' in text]
    assert 'the config num_classes=21, so decode_head.conv_seg' in warning


@pytest.fixture
def later(tmp_path):
    """A config that starts from the result of another beside it."""
    (tmp_path / 'first.py').write_text(FCN.read_text() + "model['backbone']['time_steps'] = 1\n")
    path = tmp_path / 'later.py'
    path.write_text(f"_base_ = '{FCN}'\nload_from = '{tmp_path}/work_dirs/first/epoch_1.pth'\n")
    return path


def test_start_that_is_not_there(shapes, tmp_path, later):
    sentence = refused_training(shapes, tmp_path, config=later)
    first = tmp_path / 'first.py'
    assert f'This run starts from the T = 1 result of {first}, load_from=' in sentence
    assert f"'{tmp_path}/work_dirs/first/epoch_1.pth', which is not there" in sentence
    assert f'run tools/train.py {first} first' in sentence and 'load_from=None' in sentence
    sentence = refused_training(shapes, tmp_path, 'load_from=x/no.pth', config=later)
    assert sentence.startswith("This run starts from load_from='x/no.pth', which is not there; ")


def test_resuming_before_the_first_checkpoint_still_starts_there(
    shapes, tmp_path, later, trained_fcn
):
    """A job that is always called with --resume begins like one that is not."""
    assert 'This run starts' in refused_training(shapes, tmp_path, config=later, flags=['--resume'])
    options = [f'load_from={trained_fcn}', 'optim_wrapper.optimizer.lr=0']
    argv = arguments(shapes, tmp_path / 'work', *options, config=later, flags=['--resume'])
    runner = cli.train(argv)
    assert runner.epoch == 1 and runner.load_or_resume() is None
    again = cli.train([*argv, 'train_cfg.max_epochs=2'])
    assert (again.epoch, again.iter) == (2, 6)


def test_without_a_start(shapes, tmp_path, later):
    config = load_config(later, {'load_from': None})
    assert config.load_from is None
    cli.train(arguments(shapes, tmp_path / 'work', 'load_from=None', config=later))
