"""What the README says exists, exists."""

import os
import re
from pathlib import Path

import pytest

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


def test_is_short():
    assert len(README.splitlines()) <= 150


def test_measured_figures_stand_in_the_pages_that_say_how():
    """A figure that is measured anew must not stay old here."""
    section = README.partition('## Measured')[2].partition('\n\nAll on')[0]
    rows = [line.split('|')[1:4] for line in section.splitlines() if line.startswith('| ')][2:]
    assert len(rows) == 6
    pages = ' '.join((ROOT / f'docs/{page}.md').read_text() for page in ('results', 'performance'))
    for name, *cells in rows:
        figures = re.findall(r'(?<![\w.=-])\d+\.?\d+(?!\w*-)', ' '.join(cells))
        assert len(figures) >= 2, name
        for figure in figures:
            assert re.search(rf'(?<![\d.]){re.escape(figure)}(?![\d.]*\d)', pages), (name, figure)


def test_tools_can_be_called_as_programs():
    for tool in (ROOT / 'tools').iterdir():
        if tool.suffix in ('.py', '.sh'):
            assert tool.read_text().startswith('#!'), tool
            assert os.access(tool, os.X_OK), tool
