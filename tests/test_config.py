"""``data_root`` on the command line reaches every path of a config."""

import re

import pytest

from mmspike.config import check_variable, config_parser
from mmspike.engine import UserError, load_config

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
    """As in the documented command for COCO."""
    config = load_config(path, {'data_root': same})
    assert config.to_dict() == load_config(path).to_dict()


@pytest.mark.parametrize(
    'key, sentence',
    [
        ('data_rot', r'data_rot, which is neither in .* \(did you mean data_root\?\); c'),
        ('trian_dataloader.batch_size', r'trian_dataloader, .* \(did you mean train_dataloader'),
        ('loadfrom', r'sets loadfrom, .* \(did you mean load_from\?\); correct it\.$'),
        ('zzz.a', r'sets zzz, which is neither in the config nor read by anything; correct it\.$'),
        ('files.0', 'files.0 cannot be merged'),
        ('val_evaluator.9.ann_file', 'ann_file cannot be merged'),
        ('data_root.a', 'data_root.a cannot be merged'),
        ('train_dataloader.dataset.times.a', 'times.a cannot be merged'),
    ],
)
def test_keys_that_nothing_reads(path, key, sentence):
    with pytest.raises(UserError, match=f'--cfg-options .*{sentence}'):
        load_config(path, {key: 1})


@pytest.mark.parametrize(
    'option, warned',
    [
        ('model.test_cfg.rcn.score_thr', "where 'rcn' is new to the config (did you mean rcnn?)"),
        ('model.test_cfg.rcnn.score_th', "'score_th' is new to the config (did you mean score_thr"),
        ('val_evaluator.0.meta.scor', "where 'scor' is new to the config (did you mean score?)"),
        ('model.test_cfg.rcnn.score_thr', None),
        ('model.test_cfg.rcnn.mask_thr', None),  # New, but like nothing that is there.
        ('model.bakbone.depth', None),  # What is built refuses it.
    ],
)
def test_new_keys_much_like_others_are_warned_of(tmp_path, monkeypatch, option, warned):
    said = []
    monkeypatch.setattr('mmspike.config.print_log', lambda text, *_: said.append(text))
    path = tmp_path / 'config.py'
    path.write_text(
        "model = dict(type='A', backbone=dict(type='B'), test_cfg=dict(rcnn=dict(score_thr=1)))\n"
        "val_evaluator = [dict(type='C', meta=dict(score=1))]"
    )
    load_config(path, {option: 1})
    assert len(said) == bool(warned)
    assert not warned or warned in said[0]


@pytest.mark.parametrize(
    'option, places',
    [
        ('max_epochs', 'train_cfg.max_epochs, param_scheduler.1.end'),
        ('names', 'train_dataloader.dataset.names'),
        ('names.0', 'train_dataloader.dataset.names'),
    ],
)
def test_variables_of_the_file_are_refused(tmp_path, option, places):
    path = tmp_path / 'config.py'
    path.write_text(
        "max_epochs = 3\nnames = ['a']\nother = names\nmine = 5\n"
        'train_cfg = dict(max_epochs=max_epochs)\n'
        'param_scheduler = [dict(end=2), dict(end=max_epochs)]\n'
        'train_dataloader = dict(dataset=dict(names=names))'
    )
    with pytest.raises(UserError) as caught:
        load_config(path, {option: 7})
    assert caught.value.sentence == (
        f'--cfg-options sets {option.partition(".")[0]}, a variable of the config file that '
        f'nothing reads after the file; set what holds its value: {places}.'
    )
    # What code of one's own may read.
    assert load_config(path, {'mine': 7}).mine == 7


@pytest.mark.parametrize('key', ['load_from', 'randomness.seed', 'sync_bn', 'tta_model.type'])
def test_keys_that_mmengine_reads_though_the_config_has_them_not(path, key):
    assert load_config(path, {key: 'torch'}).get(key.partition('.')[0])


def refusal(path):
    with pytest.raises(UserError) as caught:
        load_config(path)
    return caught.value.sentence


@pytest.mark.parametrize(
    'text, reason',
    [
        ('a = 1\nb = dict(c=1', "SyntaxError in line 2: '(' was never closed"),
        ('a = 1\n\nb = nothing', "NameError in line 3: name 'nothing' is not defined"),
        ('f = dict\na = f(\n  1)', 'TypeError in line 2: '),
        (
            "custom_imports = dict(imports=['no_such_module_x'])",
            "ModuleNotFoundError: No module named 'no_such_module_x'",
        ),
        ("_base_ = 'no_such_package::b/a.py'", 'no_such_package'),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, text, reason):
    """Also where it is another's base."""
    path, child = tmp_path / 'config.py', tmp_path / 'child.py'
    path.write_text(text)
    child.write_text("_base_ = 'config.py'\nb = 1")
    for config in (path, child):
        sentence = refusal(config)
        assert sentence.startswith(f"Config '{path}' cannot be read: ")
        assert reason in sentence and sentence.endswith('; correct it there.')


def test_a_config_with_a_new_kind_of_import(tmp_path):
    (tmp_path / 'config.py').write_text('from torch.nn import ReLU\na = 1\nb = nothing')
    assert "NameError in line 3: name 'nothing'" in refusal(tmp_path / 'config.py')


def test_a_base_that_is_not_there(tmp_path):
    (tmp_path / 'parts').mkdir()
    (tmp_path / 'parts/runtime.py').write_text('a = 1')
    (tmp_path / 'config.py').write_text("b = 1\n_base_ = ['parts/runtim.py']")
    (tmp_path / 'child.py').write_text("_base_ = 'config.py'")
    assert refusal(tmp_path / 'child.py') == (
        f"Config '{tmp_path}/config.py' has the _base_ '{tmp_path}/parts/runtim.py', which is not "
        'there (did you mean runtime.py?); correct _base_ in it.'
    )


def test_a_mistake_in_a_module_that_a_config_imports_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'module_with_a_bug.py').write_text("{}['bug']")
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['module_with_a_bug'])")
    with pytest.raises(KeyError, match='bug'):
        load_config(tmp_path / 'config.py')


MODEL = "pretrained = 'a.pth'\nmodel = dict(backbone=dict(type='B', pretrained=pretrained))"


@pytest.mark.parametrize('new', ['new.pth', None])
def test_pretrained_reaches_the_backbone(tmp_path, new):
    path = tmp_path / 'config.py'
    path.write_text(MODEL)
    config = load_config(path, {'pretrained': new})
    assert config.pretrained == config.model.backbone.pretrained == new
    check_variable(config)
    path.write_text("model = dict(backbone=dict(type='B'))")
    assert load_config(path, {'pretrained': new}).model.backbone.pretrained == new
    # As in configs of mmseg.
    path.write_text("model = dict(pretrained='open-mmlab://x', backbone=dict(type='B'))")
    config = load_config(path, {'pretrained': new})
    assert config.model.pretrained == new and 'pretrained' not in config.model.backbone


def test_pretrained_that_cannot_be_set(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(MODEL)
    for wrong in ('', 5, 'https://a.org/b.pth'):
        with pytest.raises(UserError, match=f'pretrained={wrong} is no file of this machine'):
            load_config(path, {'pretrained': wrong})
    for text in ('a = 1', 'model = dict(pretrained=None)'):
        path.write_text(text)
        with pytest.raises(UserError, match='has no model.backbone to start from it'):
            load_config(path, {'pretrained': 'new.pth'})


def test_a_variable_and_a_backbone_that_differ(tmp_path):
    path = tmp_path / 'config.py'
    for line, fits in (
        ("pretrained = 'b.pth'", False),
        ('pretrained = None', False),
        ("model['backbone']['pretrained'] = None", False),
        ("model['backbone'] = dict(type='C')", True),  # Another backbone, another variable.
        ('del pretrained', True),
    ):
        path.write_text(f'{MODEL}\n{line}')
        if fits:
            check_variable(load_config(path))
            continue
        with pytest.raises(UserError, match='pretrained of the config is .*, but its backbone'):
            check_variable(load_config(path))


@pytest.mark.parametrize(
    'text, named, refused',
    [
        (
            "lr_config = dict(policy='step')",
            'sets lr_config, .* set param_scheduler instead',
            False,
        ),
        ("optimizer = dict(type='SGD')", 'sets optimizer, .* set optim_wrapper.optimizer', False),
        ("_base_ = ['base.py']\nevaluation = {{_base_.size}}", 'sets evaluation', False),
        ('optim_wraper = dict(optimizer=dict(lr=1))', 'set optim_wrapper instead', True),
        ('train_dataloaders = dict(batch_size=6)', 'set train_dataloader instead', True),
        ('evn_cfg = dict()', 'set env_cfg instead', True),
        ('modle = dict()', 'set model instead', True),
        ("optimizer = dict(type='SGD')\noptim_wrapper = dict(optimizer=optimizer)", '', False),
        ('data = 3\nfolder = f"x{data}"', '', False),
        ('resume_from = None\nmy_setting = 3', '', False),
        ('train_pipeline, val_pipeline = [], []', '', False),
        ("_base_ = ['base.py']\noptimizer = dict(type='Adam')", '', False),
        ("_base_ = ['base.py']\noptim_wrapper = dict(optimizer=dict(_delete_=True))", '', False),
    ],
)
def test_names_of_a_file_that_nothing_reads(tmp_path, monkeypatch, text, named, refused):
    """Refused as on the command line; a variable that some file uses is none."""
    said = []
    monkeypatch.setattr('mmspike.config.print_log', lambda text, *_: said.append(text))
    base = "optimizer = dict(type='SGD')\noptim_wrapper = dict(optimizer=optimizer)\nsize = 3"
    (tmp_path / 'base.py').write_text(base)
    file = tmp_path / 'own.py'
    file.write_text(text)
    if refused:
        with pytest.raises(UserError, match=named):
            load_config(file)
    else:
        load_config(file)
        assert [bool(re.search(named, line)) for line in said] == [True] * bool(named)


def test_names_of_a_file_of_another_kind(tmp_path):
    file = tmp_path / 'own.json'
    file.write_text('{"optim_wraper": {"optimizer": {}}}')
    with pytest.raises(UserError, match='set optim_wrapper instead'):
        load_config(file)
