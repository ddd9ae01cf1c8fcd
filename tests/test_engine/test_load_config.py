"""``data_root`` on the command line reaches every path of a config."""

import pytest

from mmspike.engine import UserError, load_config
from mmspike.engine.config import config_parser

TEXT = """
data_root = 'data/coco/'
other = 'data/coco2/x.json'
word = 'data/coco_minival'
train_dataloader = dict(dataset=dict(
    type='RepeatDataset', times=2,
    dataset=dict(data_root=data_root, ann_file='annotations/train.json',
                 data_prefix=dict(img='train2017/'))))
val_evaluator = [dict(ann_file=data_root + 'annotations/val.json'), dict(type='Other', count=3)]
files = (data_root + 'a', 'b')
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize('new', ['/somewhere/else', '/somewhere/else/'])
def test_data_root_reaches_every_path(path, new):
    config = load_config(path, {'data_root': new})
    dataset = config.train_dataloader.dataset.dataset
    assert config.data_root == dataset.data_root == '/somewhere/else/'
    assert config.val_evaluator[0].ann_file == '/somewhere/else/annotations/val.json'
    assert config.files == ('/somewhere/else/a', 'b')
    # Relative to data_root, so they follow by themselves.
    assert dataset.ann_file == 'annotations/train.json' and dataset.data_prefix.img == 'train2017/'


def test_similar_names_are_left_alone(path):
    config = load_config(path, {'data_root': 'new'})
    assert config.other == 'data/coco2/x.json' and config.word == 'data/coco_minival'


def test_root_without_a_slash(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("data_root = 'data/a'\nfile = 'data/a/b.json'\nlonger = 'data/ab'")
    config = load_config(path, {'data_root': '/new/'})
    assert (config.data_root, config.file, config.longer) == ('/new', '/new/b.json', 'data/ab')


def test_options_after_data_root_win(path):
    config = load_config(
        path,
        {
            'val_evaluator.0.ann_file': 'mine.json',
            'data_root': 'new',
            'train_dataloader.dataset.times': 5,
        },
    )
    assert config.val_evaluator[0].ann_file == 'mine.json'
    assert config.train_dataloader.dataset.times == 5
    assert config.train_dataloader.dataset.dataset.data_root == 'new/'


def test_without_options_nothing_changes(path):
    assert load_config(path).val_evaluator[0].ann_file == 'data/coco/annotations/val.json'


def test_what_cannot_be_done(tmp_path):
    with pytest.raises(UserError, match='is not there'):
        load_config(tmp_path / 'none.py')
    (tmp_path / 'rootless.py').write_text('a = 1')
    with pytest.raises(UserError, match='no data_root'):
        load_config(tmp_path / 'rootless.py', {'data_root': 'new'})


def test_a_root_that_no_dataset_uses_is_said_so(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text("data_root = 'data/mine/'\nval = dict(data_root='data/coco/')")
    with pytest.raises(UserError, match="is 'data/mine/', but no dataset in it lies there"):
        load_config(path, {'data_root': 'elsewhere'})


@pytest.mark.parametrize(
    'option',
    [
        "hooks=[dict(type='A', n=1), dict(type='B')]",
        "hooks=[dict(type='A')]",
        "hook=dict(type='A')",
        "hook={'type': 'A'}",
        "hooks=[a, dict(type='A')]",
        'hooks=[(1, 2]',
        'hooks',
    ],
)
def test_options_that_cannot_be_read(option):
    with pytest.raises(UserError, match=r"--cfg-options '.*' cannot be read.*; set what stands in"):
        config_parser('').parse_args(['config.py', '--cfg-options', option])


def test_options_that_can():
    args = config_parser('').parse_args(
        ['config.py', '--cfg-options', 'a=[(1,2),x]', 'b.0.c=0.5', 'd=x{}']
    )
    assert args.cfg_options == {'a': [(1, 2), 'x'], 'b.0.c': 0.5, 'd': 'x{}'}


@pytest.mark.parametrize('same', ['data/coco/', 'data/coco'])
def test_the_folder_that_the_config_names_already(path, same):
    """As in the README's own command for COCO."""
    config = load_config(path, {'data_root': same})
    assert config.to_dict() == load_config(path).to_dict()
