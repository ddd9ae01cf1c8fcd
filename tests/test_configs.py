"""Every shipped config: its name, its docstring, its files, and that it builds."""

import ast
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

CONFIGS = Path(__file__).parents[1] / 'configs'
SHIPPED = sorted(path.name for path in CONFIGS.glob('*.py'))
NAME = re.compile(r'[a-z0-9_]+_metaspike(-[a-z0-9]+)?(_t\d+)?_[a-z0-9]+\.py')


@pytest.fixture(params=SHIPPED)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    config = Config.fromfile(CONFIGS / name)
    pytest.importorskip(config.default_scope, reason='the library of this config')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config


def test_name_follows_the_rule(name):
    assert NAME.fullmatch(name)


def test_docstring_gives_paper_ours_and_the_command(name):
    text = ast.get_docstring(ast.parse((CONFIGS / name).read_text()))
    assert 'Paper' in text
    assert 'Ours' in text
    lines = [line.strip() for line in text.splitlines() if line.startswith('    ')]
    commands = [line for line in lines if 'tools/' in line]
    assert commands
    assert all(line.startswith(('python tools/', 'bash tools/')) for line in commands)


def test_listed_in_both_tables(name):
    for table in (CONFIGS / 'README.md', CONFIGS.parent / 'README.md'):
        assert name in table.read_text(), table


def test_bases_are_our_own():
    for path in CONFIGS.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
                for base in ast.literal_eval(node.value):
                    assert (path.parent / base).resolve().is_relative_to(CONFIGS)


def test_model_builds_with_matching_channels_and_classes(config):
    model = MODELS.build(config.model)
    assert list(model.neck.in_channels) == list(model.backbone.out_channels)
    classes = config.train_dataloader.dataset.get('metainfo', {}).get('classes')
    if classes:
        assert model.roi_head.bbox_head.num_classes == len(classes)
        assert model.roi_head.mask_head.num_classes == len(classes)


def test_time_steps_stand_in_the_backbone_alone(config):
    text = str(config.model.to_dict())
    assert text.count("'time_steps'") == 1
    assert 'time_steps' in config.model.backbone


def test_pipelines_build(config):
    from mmcv.transforms import Compose

    for split in ('train', 'val', 'test'):
        Compose(config[f'{split}_dataloader'].dataset.pipeline)


def test_data_root_is_the_only_place_of_the_data(config):
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.data_root == config.data_root
    for split in ('val', 'test'):
        assert config[f'{split}_evaluator'].ann_file.startswith(config.data_root)
