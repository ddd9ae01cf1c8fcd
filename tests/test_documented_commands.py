"""Every command that README and docs show is run, on tiny data and for one iteration.

The shell splits them (`doc_commands.py`). A command of a small config or of one of the two front
doors, which are narrowed, really runs. One that would train another model of full size, as most
rows of the table of configs, is read by its tool's own parser, and its options are merged into its
config; `test_configs.py` builds those models. What cannot run in a test stands in `ELSEWHERE` with
the reason and the place. A command that is none of these fails.
"""

import os
import runpy
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
from doc_commands import ROOT, all_commands, commands, write_shapes_as
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands import benchmark, energy, export, test, train
from mmspike.datasets import generate_shapes
from mmspike.datasets.moving_shapes import generate_moving_shapes
from mmspike.datasets.shape_crops import cut_shapes
from mmspike.engine import load_config

COMMANDS = all_commands()
ELSEWHERE = {
    'source .venv/bin/activate': 'activates what setup_env.py made: test_setup_env.py',
    'python3 tools/setup_env.py': 'downloads and compiles: test_setup_env.py, and every run of CI',
    'bash tools/demo.sh': 'takes minutes: test_tools/test_demo.py runs the demo with a tiny model',
    'bash tools/run_tests.sh': 'is what runs this test',
    'pip wheel': 'test_packaging.py builds the wheel',
    'pip install': 'changes the environment: test_packaging.py builds the wheel and looks inside',
    'mmspike': 'the tools under one name: test_console.py',
    'coverage': 'takes longer than all tests, which it runs',
    'mim': 'changes the environment: tools/dev/try_mim.sh runs these',
    'bash tools/dev/try_mim.sh': 'installs openmim: run by hand, docs/install.md has its outcome',
    'python3 tools/dev/compat.py': 'makes environments for hours: docs/install.md has the outcome',
    'python3 tools/dev/docker_steps.py': 'sets up for minutes: test_docker.py',
    'python tools/dev/config_tables.py': 'writes the checkout: test_config_tables.py runs it',
    'python tools/dev/annotations_cost.py': 'takes minutes: docs/performance.md has its outcome',
    'python tools/dev/onnx_metrics.py': 'needs a trained model: docs/hardware.md has its outcome',
    'docker': 'needs an engine: test_docker.py runs the steps of the image',
}
PARSERS = {
    'train': train._train_parser,
    'test': test._test_parser,
    'energy': energy._parser,
    'export': export._parser,
    'benchmark': benchmark._parser,
}
GENERATORS = ('make_shapes', 'make_moving_shapes')
INSTANCES, MAPS = 'mask_rcnn_metaspike_coco.py', 'semantic_fpn_metaspike_voc2012.py'
ARCH = (
    'arch=dict(_delete_=True, dims=(4, 8, 16, 32, 32), depths=(1, 1, 1, 1, 1), heads=4), '
    'pretrained=pretrained'
)
NARROW = {
    INSTANCES: f"""
pretrained = None
model = dict(
    backbone=dict({ARCH}),
    neck=dict(in_channels=[8, 16, 32, 32], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=20), rcnn=dict(sampler=dict(num=8))),
    test_cfg=dict(rpn=dict(max_per_img=20)),
)
""",
    MAPS: f"""
pretrained = None
model = dict(
    backbone=dict({ARCH}),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16),
)
""",
}
SMALL_DATA = {
    INSTANCES: 'train_dataloader.dataset.pipeline.2.scale=(128,128) '
    'test_dataloader.dataset.pipeline.1.scale=(128,128) '
    'val_dataloader.dataset.pipeline.1.scale=(128,128)',
    MAPS: 'train_dataloader.dataset.pipeline.2.scale=(128,64) '
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64) model.data_preprocessor.size=(64,64) '
    'test_dataloader.dataset.pipeline.1.scale=(128,64) '
    'val_dataloader.dataset.pipeline.1.scale=(128,64)',
}
SMALL_DATA['nuclei'] = (
    SMALL_DATA[INSTANCES] + ' train_dataloader.dataset.pipeline.3.crop_size=(96,96)'
)
SMALL_DATA['camvid'] = SMALL_DATA[MAPS].replace('(128,64)', '(64,48)').replace('(64,64)', '(48,64)')
DEFAULT = 'configs/mask_rcnn_metaspike-tiny_t1_shapes.py'
MINE = ROOT / 'docs' / 'first_hour.md'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder like the checkout's, with narrow configs and a little of every kind of data."""
    pytest.importorskip('mmdet', reason='most commands are of mmdet configs')
    root = tmp_path_factory.mktemp('place')
    shutil.copytree(ROOT / 'configs', root / 'configs')
    (root / 'tools').symlink_to(ROOT / 'tools')
    for name, lines in NARROW.items():
        (root / 'configs' / name).rename(root / 'configs' / f'full_{name}')
        (root / 'configs' / name).write_text(f"_base_ = ['full_{name}']\n{lines}")
    mine = MINE.read_text().partition('```python\n')[2].partition('```')[0]
    (root / 'configs' / 'mine.py').write_text(mine)
    data = root / 'data'
    shapes = generate_shapes(data / 'shapes', 2, 2, 64)
    if find_spec('mmpretrain'):
        cut_shapes(shapes)
        generate_moving_shapes(data / 'moving_shapes', num_train=2, num_val=2)
    own = dict(train='train', val='val')
    write_shapes_as(data / 'nuclei', shapes, ('nucleus',), own)
    write_shapes_as(data / 'mine', shapes, ('cat', 'dog'), own)
    coco = dict(train='train2017', val='val2017')
    names = DATASETS.get('mmdet.CocoDataset').METAINFO['classes']
    write_shapes_as(data / 'coco', shapes, names, coco)
    _write_maps(data, shapes)
    return root


def _write_maps(data, shapes):
    voc, camvid = data / 'VOCdevkit' / 'VOC2012', data / 'camvid'
    (voc / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    for split in ('train', 'val'):
        names = []
        for picture in sorted((shapes / split).iterdir()):
            image = cv2.imread(str(picture))
            label = cv2.imread(str(shapes / 'masks' / split / f'{picture.stem}.png'), 0)
            label = (label > label.min()).astype('uint8')
            names.append(f'{split}{picture.stem}')
            for folder, name in (
                (voc / 'JPEGImages', f'{names[-1]}.jpg'),
                (voc / 'SegmentationClass', f'{names[-1]}.png'),
                (camvid / 'img_dir' / split, f'{picture.stem}.jpg'),
                (camvid / 'ann_dir' / split, f'{picture.stem}.png'),
            ):
                folder.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / name), image if name.endswith('jpg') else label)
        listed = voc / 'ImageSets' / 'Segmentation' / f'{split}.txt'
        listed.write_text('\n'.join(names))


def checkpoint_of(name, place):
    """The file with weights that make neurons fire, in the place of those of a trained model."""
    file = place / 'work_dirs' / name / 'weights.pth'
    if not file.is_file():
        config = Config.fromfile(place / 'configs' / f'{name}.py')
        pytest.importorskip(config.default_scope, reason='the library of this checkpoint')
        with DefaultScope.overwrite_default_scope(config.default_scope):
            weights = randomize_norms(MODELS.build(config.model)).state_dict()
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({'state_dict': weights, 'meta': {}}, file)
    return str(file)


def is_elsewhere(command):
    text = ' '.join(command)
    return any(text == known or text.startswith(f'{known} ') for known in ELSEWHERE)


def plan(command):
    """Say what is done with a command: 'elsewhere', 'run', 'launch' or 'read'."""
    if is_elsewhere(command):
        return 'elsewhere'
    text = ' '.join(command)
    program, script, *words = command if len(command) > 1 else (*command, '')
    script = Path(script)
    if not (script.parent == Path('tools') and (ROOT / script).is_file()):
        raise AssertionError(f'neither run nor listed in ELSEWHERE: {text}')
    names = [Path(word).name for word in words if word.startswith('configs/')]
    small = all('-tiny_' in n or n in NARROW or 'resnet18' in n or n == 'mine.py' for n in names)
    if program == 'bash' and script.name == 'dist_train.sh':
        return 'launch' if words == ['configs/' + INSTANCES, '6'] else 'read'
    if program != 'python':
        raise AssertionError(f'no way to run: {text}')
    return 'run' if small else 'read'


def fill_in(words, place):
    """Put files that are there in the place of the words in capitals."""
    picture = str(next((place / 'data' / 'shapes' / 'val').iterdir()))
    words = [DEFAULT if word == 'CONFIG' else word for word in words]
    config = next((Path(word) for word in words if word.startswith('configs/')), None)
    filled = []
    for word in words:
        key, equals, value = word.rpartition('=')
        if value == 'FOLDER':
            value = str(Config.fromfile(place / config).data_root)
        elif value in ('IMAGE', 'INPUT'):
            value = picture
        elif word == 'pretrained=FILE':
            value = 'None'  # No ImageNet checkpoint fits the narrow models: test_finetune.py.
        elif value == 'CHECKPOINT':
            value = checkpoint_of(config.stem, place)
        elif value.startswith('work_dirs/') and value.endswith('.pth'):
            value = checkpoint_of(value.split('/')[1], place)
        filled.append(key + equals + value)
    return config, filled


def with_options(words, options):
    """Add settings behind those that a command has."""
    if not options:
        return words
    if '--cfg-options' not in words:
        return [*words, '--cfg-options', *options]
    start = words.index('--cfg-options') + 1
    end = next((i for i in range(start, len(words)) if words[i].startswith('--')), len(words))
    return [*words[:end], *options, *words[end:]]


def cut_short(tool, config, words, place):
    """Leave one iteration of little data."""
    if tool in GENERATORS:
        return [f'made_{Path(words[0]).name}', *words[1:], '--num-train', '2', '--num-val', '2']
    if tool == 'benchmark':
        # torch.compile takes its time and has tests of its own; SpikingJelly may be absent.
        left_out = ('compiled', 'spikingjelly', '--memory', '--device', 'cuda')
        if 'cuda' in words:
            left_out += ('--bf16',)  # mmcv's nms takes it on a GPU only.
        kept = [word for word in words if word not in left_out]
        return [*kept, '--size', '64', '64', '--batch', '2', '--repeats', '1', '--threads', '1']
    if tool == 'convert':
        return words
    data = config.stem.rpartition('_')[2]  # What the name of a config ends with.
    options = SMALL_DATA.get(config.name, SMALL_DATA.get(data, '')).split()
    if tool in ('train', 'test'):
        splits = ('train', 'val') if tool == 'train' else ('test',)
        loaders = [f'{split}_dataloader' for split in splits]
        options += [f'{loader}.num_workers=0' for loader in loaders]
        options += [f'{loader}.persistent_workers=False' for loader in loaders]
    if tool == 'train':
        loaded = Config.fromfile(place / config)
        length = 'max_iters' if 'max_iters' in loaded.train_cfg else 'max_epochs'
        options += [f'train_cfg.{length}=1', 'train_dataloader.batch_size=2']
        if any('dataset.indices=' in word for word in words):
            options.append('train_dataloader.dataset.indices=2')
        if loaded.get('load_from'):
            name = Path(loaded.load_from).parent.name
            options.append(f'load_from={checkpoint_of(name, place)}')
    return with_options(words, options)


@pytest.mark.slow
@pytest.mark.parametrize(
    'command',
    [command for command in COMMANDS if not is_elsewhere(command)],
    ids=lambda command: ' '.join(command)[:150],
)
def test_command(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    kind = plan(command)
    tool, words = Path(command[1]).stem, list(command[2:])
    if tool == 'dist_train':
        tool, words = 'train', [words[0], *words[2:]]
    if kind == 'read':
        args = PARSERS[tool]().parse_args(words)
        for config in getattr(args, 'configs', None) or [args.config]:
            load_config(config, getattr(args, 'cfg_options', None))
        return
    config, words = fill_in(words, place)
    if config:
        library = Config.fromfile(place / config).default_scope
        pytest.importorskip(library, reason='the library of this config')
    elif tool == 'make_moving_shapes' or '--crops' in words:
        pytest.importorskip('mmpretrain', reason='data for classification')
    if tool == 'convert':
        from released import released_checkpoint

        torch.save(released_checkpoint('15m'), words[0])
    words = cut_short(tool, config, words, place)
    if kind == 'launch':
        launch(words)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(sys, 'argv', [command[1], *words])
    try:
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    finally:
        torch.set_num_threads(threads)


def launch(words):
    """Train with two processes in the place of six, by the script itself."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
    port = str(20000 + os.getpid() % 10000)  # Another suite may run beside this one.
    environment = {**os.environ, 'PATH': path, 'PYTHONPATH': paths, 'PORT': port}
    environment['PYTHONFAULTHANDLER'] = '1'  # A process that aborts says where it was.
    call = ['bash', 'tools/dist_train.sh', words[0], '2', *words[1:]]
    done = subprocess.run(call, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_shell_reads_what_a_document_shows():
    text = """
Some `python tools/a.py --x` and `python`, `name.py`.

```bash
A="one two"   # not this
PYTHONPATH=. python tools/b.py $A \\
    "three four"
for X in 1 2; do python tools/c.py $X; done
unknown --thing
```

    python tools/d.py [1,2]
"""
    assert commands(text) == [
        ('python', 'tools/b.py', 'one', 'two', 'three four'),
        ('python', 'tools/c.py', '1'),
        ('python', 'tools/c.py', '2'),
        ('unknown', '--thing'),
        ('python', 'tools/d.py', '[1,2]'),
        ('python', 'tools/a.py', '--x'),
    ]


@pytest.mark.parametrize('command', ['unknown --thing', 'python tools/none.py', 'python setup.py'])
def test_a_command_that_nobody_runs_is_an_error(command):
    with pytest.raises(AssertionError, match='neither run nor listed'):
        plan(tuple(command.split()))


def test_each_tool_that_is_shown_is_run_at_least_once():
    run = {Path(c[1]).stem for c in COMMANDS if plan(c) in ('run', 'launch')}
    shown = {Path(c[1]).stem for c in COMMANDS if plan(c) != 'elsewhere'}
    assert run == shown
    assert {'train', 'test', 'infer', 'spikes', 'energy', 'check'} <= run
