"""tools/dev/config_tables.py: what the docstrings of configs say stands in tables and metafiles."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.fileio import load

ROOT = Path(__file__).parents[2]
TOOL = 'tools/dev/config_tables.py'
FORM = 'mask_rcnn_metaspike_coco.py shows the form.'
NEW = 'fcn_metaspike-9m_t2_ade20k.py'
DOCSTRING = r'''r"""A model that there is not.

Task: Semantic Segmentation on ADE20K
Parameters: 9.1M
Paper: mIoU 40.5 (9.3M), table 4
Ours: mIoU 41.5, docs/results.md

    python tools/test.py CONFIG CHECKPOINT
    bash tools/dist_train.sh CONFIG 4 \
        --cfg-options seed=1
"""
'''


def run(root, *arguments):
    command = [sys.executable, str(root / TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """The generator and the configs, to write there."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (tmp_path / TOOL).parent.mkdir(parents=True)
    shutil.copy(ROOT / TOOL, tmp_path / TOOL)
    return tmp_path


def test_tables_and_metafiles_say_what_the_docstrings_say():
    done = run(ROOT, '--check')
    assert (done.returncode, done.stderr) == (0, '')


def test_a_config_is_added_in_one_place(checkout):
    (checkout / 'configs' / NEW).write_text(DOCSTRING)
    metafile = checkout / 'configs' / 'metafiles' / 'segmentation.yml'
    before = metafile.read_text()
    done = run(checkout, '--check')
    assert done.returncode == 1
    assert done.stderr == (
        'configs/metafiles/segmentation.yml, configs/README.md: not what the docstrings of the '
        'configs say; run python tools/dev/config_tables.py.\n'
    )
    assert metafile.read_text() == before
    assert run(checkout).returncode == 0
    assert run(checkout, '--check').returncode == 0
    rows = (checkout / 'configs' / 'README.md').read_text().splitlines()
    assert [row for row in rows if NEW in row] == [
        f'| `{NEW}` | 9.1M | 40.5 (9.3M) | [41.5](../docs/results.md) | '
        '`bash tools/dist_train.sh CONFIG 4 --cfg-options seed=1` |'
    ]
    (model,) = [m for m in load(metafile)['Models'] if m['Config'] == f'configs/{NEW}']
    assert model == {
        'Name': 'fcn_metaspike-9m_t2_ade20k',
        'In Collection': 'Meta-SpikeFormer',
        'Config': f'configs/{NEW}',
        'Metadata': {'Training Data': 'ADE20K', 'Parameters': 9_100_000, 'Time Steps': 2},
        'Results': [
            # The paper's figure is another model's, as its remark says.
            {
                'Task': 'Semantic Segmentation',
                'Dataset': 'ADE20K',
                'Metrics': {'mIoU (ours)': 41.5},
            }
        ],
    }


@pytest.mark.parametrize(
    ('right', 'wrong', 'sentence'),
    [
        ('Ours:', 'We:', f"its docstring has no line 'Ours: ...'; {FORM}"),
        (
            'Semantic Segmentation on',
            'Segmentation on',
            "the task 'Segmentation on ADE20K' is not one of Instance Segmentation, Object "
            'Detection, Semantic Segmentation, Image Classification, Action Recognition, followed '
            f"by 'on' and the data set; {FORM}",
        ),
        ('9.1M', '9.1 million', "parameters are '9.1 million', not such as 34.9M."),
        ('dist_train', 'slurm_test', f'its docstring has no command that trains it; {FORM}'),
    ],
)
def test_a_docstring_of_another_form_is_refused_in_a_sentence(checkout, right, wrong, sentence):
    (checkout / 'configs' / NEW).write_text(DOCSTRING.replace(right, wrong))
    done = run(checkout)
    assert (done.returncode, done.stderr) == (1, f'{NEW}: {sentence}\n')
