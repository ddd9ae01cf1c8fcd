"""Every shipped config: its name, its docstring, its files, and that it builds."""

import ast
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

CONFIGS = Path(__file__).parents[1] / 'configs'
SHIPPED = sorted(path.name for path in CONFIGS.glob('*.py'))
# The paper trains them from scratch.
FROM_SCRATCH = ('yolox_metaspike_t1_coco.py', 'yolox_metaspike_t4_coco.py')
# The last alternative is a baseline without spikes.
NAME = re.compile(
    r'([a-z0-9_]+_)?(metaspike(-[a-z0-9]+)*(_t\d+)?|espikeformer-[a-z0-9]+_t\d+'
    r'|spikeresnet18_t\d+|resnet18)_[a-z0-9_]+\.py'
)
SPIKING = ('metaspike', 'espikeformer', 'spikeresnet')
# Small data that small budgets train on from scratch.
SMALL_DATA = ('camvid.py', 'nuclei.py', 'shapes.py')
STEPS_4 = [name for name in SHIPPED if '_t4_' in name]
SPLITS = ('train', 'val', 'test')
METAFILES = [CONFIGS.parent / file for file in load(CONFIGS.parent / 'model-index.yml')['Import']]
MODELS_TOLD = {
    Path(model['Config']).name: model
    for file in METAFILES
    for model in load(file).get('Models', [])
}


def metrics(model):
    return model['Results'][0]['Metrics']


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


def test_docstring_gives_commands(name):
    text = ast.get_docstring(ast.parse((CONFIGS / name).read_text()))
    lines = [line.strip() for line in text.splitlines() if line.startswith('    ')]
    commands = [line for line in lines if 'tools/' in line]
    assert commands
    assert all(line.startswith(('python tools/', 'bash tools/')) for line in commands)


@pytest.mark.parametrize('name', [name for name, model in MODELS_TOLD.items() if metrics(model)])
def test_figures_stand_in_the_results(name):
    """A figure that is measured anew must not stay old here."""
    results = (CONFIGS.parent / 'docs' / 'results.md').read_text()
    for figure in metrics(MODELS_TOLD[name]).values():
        assert re.search(rf'(?<![\d.]){re.escape(str(figure))}(?![\d.]*\d)', results), figure


def test_metafile_is_true_of_the_config(config, name):
    model = MODELS_TOLD[name]
    task = model['Results'][0]['Task']
    if config.default_scope == 'mmdet':
        segments = 'segm' in config.val_evaluator.metric
        assert task == ('Instance Segmentation' if segments else 'Object Detection')
    elif config.default_scope == 'mmseg':
        assert task == 'Semantic Segmentation'
    else:
        (dataset,) = datasets(config, 'train')
        events = any(step.type == 'mmspike.FramesToTensor' for step in dataset.pipeline)
        assert task == ('Action Recognition' if events else 'Image Classification')
    assert model['Metadata'].get('Time Steps') == config.model.backbone.get('time_steps')


def test_bases_are_our_own():
    for path in CONFIGS.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
                for base in ast.literal_eval(node.value):
                    assert (path.parent / base).resolve().is_relative_to(CONFIGS)


def datasets(config, split):
    dataset = config[f'{split}_dataloader'].dataset
    if dataset.type == 'MultiImageMixDataset':
        dataset = dataset.dataset
    return dataset.get('datasets', [dataset])


def classes_of(config):
    (dataset, *_) = datasets(config, 'train')
    if 'metainfo' in dataset:
        return dataset.metainfo.classes
    kind = dataset.type if '.' in dataset.type else f'{config.default_scope}.{dataset.type}'
    return DATASETS.get(kind).METAINFO['classes']


def classifying_heads(model):
    """Yield every part that predicts classes, the stages of a cascade one by one."""
    names = ('bbox_head', 'decode_head', 'auxiliary_head', 'head')
    parts = [getattr(model, name, None) for name in names]
    parts += [
        getattr(getattr(model, 'roi_head', None), n, None) for n in ('bbox_head', 'mask_head')
    ]
    for part in filter(None, parts):
        yield from part if isinstance(part, nn.ModuleList) else [part]


@pytest.mark.slow
def test_model_builds_with_matching_channels_strides_classes_and_parameters(config, name):
    model = MODELS.build(config.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count, -5) == MODELS_TOLD[name]['Metadata']['Parameters']
    backbone = model.backbone
    if hasattr(backbone, 'out_channels'):
        taker = getattr(model, 'head', None) or (
            model.neck if model.with_neck else model.decode_head
        )
        taken = taker.in_channels
        taken = list(taken) if isinstance(taken, (list, tuple)) else [taken]
        assert taken == list(backbone.out_channels)
    strides = getattr(model.decode_head, 'feature_strides', None) if is_segmentor(config) else None
    if strides and hasattr(backbone, 'out_strides'):
        assert tuple(strides) == backbone.out_strides
    heads = list(classifying_heads(model))
    assert heads
    assert {head.num_classes for head in heads} == {len(classes_of(config))}


def is_segmentor(config):
    return config.default_scope == 'mmseg'


def test_time_steps_stand_in_the_backbone_alone(config, name):
    text = str(config.model.to_dict())
    spikes = any(word in name for word in SPIKING)
    assert text.count("'time_steps'") == spikes
    assert ('time_steps' in config.model.backbone) == spikes
    if spikes:
        stated = re.search(r'_t(\d+)_', name)
        assert config.model.backbone.time_steps == int(stated[1] if stated else 1)


@pytest.mark.parametrize('name', STEPS_4)
def test_t4_starts_from_the_result_of_the_same_model_at_t1(config, name):
    told = re.search(r'load_from=(\S+)', (CONFIGS / name).read_text())  # In a docstring's command.
    start = Path(config.get('load_from') or told[1])
    parent = Config.fromfile(CONFIGS / f'{start.parent.name}.py')
    last = parent.train_cfg.get('max_iters') or parent.train_cfg.max_epochs
    unit = 'iter' if is_segmentor(config) else 'epoch'
    assert start == Path('work_dirs', start.parent.name, f'{unit}_{last}.pth')
    own, expected = config.model.to_dict(), parent.model.to_dict()
    # What load_from holds needs no file.
    pretrained = own['backbone'].pop('pretrained', None)
    assert name in FROM_SCRATCH or (pretrained is None) == bool(config.get('load_from'))
    expected['backbone'].pop('pretrained', None)
    assert (own['backbone'].pop('time_steps'), expected['backbone'].pop('time_steps')) == (4, 1)
    assert own == expected


def test_what_the_backbone_starts_from(config, name):
    """The published sizes of detection and segmentation finetune, small ones and YOLO do not."""
    if config.default_scope == 'mmpretrain':
        assert 'pretrained' not in config.model.backbone
        return
    assert config.model.backbone.get('pretrained') == config.pretrained
    if name.endswith(SMALL_DATA) or config.load_from or name in FROM_SCRATCH:
        assert config.pretrained is None
        return
    start = Path(config.pretrained)
    assert start.parent == Path('checkpoints')
    if 'spikeresnet' in name:  # The ordinary network of this depth, by torchvision's file name.
        assert start.name.startswith(f'resnet{config.model.backbone.depth}-')
        return
    source = Config.fromfile(CONFIGS / f'{start.stem}.py')
    own, theirs = config.model.backbone, source.model.backbone
    assert (own.arch, own.get('variant')) == (theirs.arch, theirs.get('variant'))


def test_pipelines_build(config):
    from mmcv.transforms import Compose

    for split in SPLITS:
        for dataset in (config[f'{split}_dataloader'].dataset, *datasets(config, split)):
            Compose(dataset.get('pipeline', []))


def test_data_root_is_the_only_place_of_the_data(config):
    for split in SPLITS:
        for dataset in datasets(config, split):
            assert dataset.data_root == config.data_root
    for split in ('val', 'test'):
        file = config[f'{split}_evaluator'].get('ann_file')
        assert file.startswith(config.data_root) if file else config.default_scope != 'mmdet'


def test_schedules_end_with_the_training(config):
    by_epoch = 'max_epochs' in config.train_cfg
    last = config.param_scheduler[-1]
    assert last.end == config.train_cfg['max_epochs' if by_epoch else 'max_iters']
    assert last.by_epoch == by_epoch
