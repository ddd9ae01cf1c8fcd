"""What the README says exists, exists."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

from mmspike.engine import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```bash\n(.*?)```', README, re.DOTALL)


def commands(block: str) -> list[str]:
    lines = block.replace('\\\n', ' ').splitlines()
    return [line.split('#')[0].strip() for line in lines if line.strip()]


def test_opens_with_exactly_two_commands_that_set_up():
    opening = commands(BLOCKS[0])
    assert opening == ['bash tools/demo.sh', 'bash tools/run_tests.sh']
    for command in opening:
        assert 'tools/setup_env.py' in (ROOT / command.split()[1]).read_text()


def test_ci_calls_the_test_command():
    assert commands(BLOCKS[0])[1].split()[1] in (ROOT / '.ci' / 'run').read_text()


@pytest.mark.parametrize(
    'document',
    ['README.md', 'configs/README.md', *sorted(f'docs/{p.name}' for p in ROOT.glob('docs/*.md'))],
)
def test_named_files_and_links_exist(document):
    text = (ROOT / document).read_text()
    named = re.findall(r'\b(?:tools|configs)/[\w./-]+\.(?:py|sh|md)', text)
    for name in set(named) - {'configs/mine.py'}:
        assert (ROOT / name).is_file(), name
    for link in re.findall(r'\]\((?!http)([^)#]+)', text):
        assert (ROOT / document).parent.joinpath(link).exists(), link


def test_the_config_for_own_data_loads_and_its_data_root_is_followed(tmp_path):
    pytest.importorskip('mmdet', reason='a config of mmdet')
    example = re.findall(r'```python\n(.*?)```', README, re.DOTALL)[1]
    path = tmp_path / 'mine.py'
    path.write_text(example.replace("['", f"['{ROOT / 'configs'}/", 1))
    config = load_config(path, {'data_root': 'elsewhere'})
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == 'elsewhere/'
        assert loader.dataset.metainfo.classes == ('cat', 'dog')
    assert config.val_evaluator.ann_file == 'elsewhere/annotations/val.json'
    assert config.model.roi_head.mask_head.num_classes == 2


def test_the_config_for_own_label_maps_loads_them(tmp_path):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    example = re.findall(r'```python\n(.*?)```', README, re.DOTALL)[2]
    path = tmp_path / 'mine.py'
    path.write_text(example.replace("['", f"['{ROOT / 'configs'}/", 1))
    config = load_config(path, {'data_root': str(tmp_path)})
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (tmp_path / kind / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f'images/{split}/a.jpg'), np.zeros((40, 60, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{split}/a.png'), np.ones((40, 60), np.uint8))
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
            assert dataset.metainfo['classes'] == ('road', 'other')
            truth = dataset[0]['data_samples'].gt_sem_seg.data
        assert truth.unique().tolist() == [1]
    assert config.model.decode_head.num_classes == 2


def test_tools_can_be_called_as_programs():
    for tool in (ROOT / 'tools').iterdir():
        if tool.suffix in ('.py', '.sh'):
            assert tool.read_text().startswith('#!'), tool
            assert os.access(tool, os.X_OK), tool
