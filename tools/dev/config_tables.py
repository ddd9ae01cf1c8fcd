#!/usr/bin/env python3
"""Write the tables of configs/README.md and configs/metafiles/ from the docstrings of the configs.

    python tools/dev/config_tables.py          # writes
    python tools/dev/config_tables.py --check  # exits with 1 and one sentence if it would

Below its title, a config's docstring has one line for each of four fields, and the command that
trains it:

    Task: Instance Segmentation on COCO 2017
    Parameters: 34.9M
    Paper: mAP@50 44.0, table 3 (34.9M parameters, 49.5 mJ)
    Ours: not measured

        bash tools/dist_train.sh configs/mask_rcnn_metaspike_coco.py 6

The tables show what stands before the first comma. A figure without a remark is a metric of the
metafile too; one with a remark in brackets is that of another model. `Ours` names the page that
says how a figure was measured. A table is in the order of data sets, names and T.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
# The collection of a model by what its name has; any other is a baseline.
COLLECTIONS = {
    'metaspike': 'Meta-SpikeFormer',
    'espikeformer': 'E-SpikeFormer',
    'spikeresnet': 'SpikeResNet',
}
FIELDS = ('Task', 'Parameters', 'Paper', 'Ours')
EXAMPLE = 'mask_rcnn_metaspike_coco.py shows the form'


class Section(NamedTuple):
    """A table of configs/README.md, and the metafile of the same models."""

    title: str
    metric: str
    tasks: tuple[str, ...]
    about: str


SECTIONS = (
    Section(
        *('Detection', 'mAP@50', ('Instance Segmentation', 'Object Detection')),
        about='Detectors and instance segmentation (mmdet)',
    ),
    Section('Segmentation', 'mIoU', ('Semantic Segmentation',), 'Semantic segmentation (mmseg)'),
    Section(
        *('Classification', 'top-1', ('Image Classification', 'Action Recognition')),
        about='Classifiers of images and events (mmpretrain)',
    ),
)
METAFILE = """\
# {about}. Written by tools/dev/config_tables.py.
# Figures marked (paper) are those of the paper, figures marked (ours) were measured here:
# docs/results.md. There are no weights to download.
"""


class Entry(NamedTuple):
    """What the docstring of a config says."""

    file: str
    section: Section
    task: str
    data: str
    parameters: str
    paper: str
    ours: str
    command: str

    @property
    def time_steps(self) -> int:
        """T, which the name says unless it is 1."""
        told = re.search(r'_t(\d+)_', self.file)
        return int(told[1]) if told else 1

    @property
    def order(self) -> tuple:
        """What sorts a table: a model without a variant ('_' before '-'), at T = 1, comes first."""
        return self.data, re.sub(r'_t\d+_', '_', self.file).replace('_', ' '), self.time_steps

    @property
    def row(self) -> str:
        """The row of the table."""
        paper, ours = self.cell(self.paper), self.cell(self.ours)
        page = re.search(r'docs/(\w+)\.md', self.ours)
        if page and ours != 'not measured':
            ours = f'[{page[1] if ours == page[0] else ours}](../{page[0]})'
        return f'| `{self.file}` | {self.parameters} | {paper} | {ours} | `{self.command}` |\n'

    @property
    def model(self) -> dict:
        """The model of the metafile."""
        collections = [title for word, title in COLLECTIONS.items() if word in self.file]
        about = {
            'Training Data': self.data,
            'Parameters': round(float(self.parameters[:-1]) * 1e6),
        }
        if collections:
            about['Time Steps'] = self.time_steps
        figures = dict(paper=self.cell(self.paper), ours=self.cell(self.ours))
        return {
            'Name': Path(self.file).stem,
            'In Collection': (*collections, 'Baselines')[0],
            'Config': f'configs/{self.file}',
            'Metadata': about,
            'Results': [
                {
                    'Task': self.task,
                    'Dataset': self.data,
                    'Metrics': {
                        f'{self.section.metric} ({whose})': float(figure)
                        for whose, figure in figures.items()
                        if re.fullmatch(r'[\d.]+', figure)
                    },
                }
            ],
        }

    def cell(self, text: str) -> str:
        """Cut a field at its first comma; the header of the table names the metric."""
        return text.partition(', ')[0].removeprefix(f'{self.section.metric} ')


def read(file: Path) -> Entry:
    """Read the docstring of a config, or exit with a sentence that says what it lacks."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) or ''
    said = dict(re.findall(rf'^({"|".join(FIELDS)}): (.+)$', text, re.MULTILINE))
    for field in FIELDS:
        if field not in said:
            sys.exit(f"{file.name}: its docstring has no line '{field}: ...'; {EXAMPLE}.")
    task, _, data = said['Task'].partition(' on ')
    section = next((section for section in SECTIONS if task in section.tasks), None)
    if section is None or not data:
        known = ', '.join(task for section in SECTIONS for task in section.tasks)
        sys.exit(
            f"{file.name}: the task '{said['Task']}' is not one of {known}, followed by 'on' and "
            f'the data set; {EXAMPLE}.'
        )
    if not re.fullmatch(r'\d+\.\dM', said['Parameters']):
        sys.exit(f"{file.name}: parameters are '{said['Parameters']}', not such as 34.9M.")
    commands = re.findall(r'^    (.*(?:train\.|demo\.sh).*)$', text.replace('\\\n', ' '), re.M)
    if not commands:
        sys.exit(f'{file.name}: its docstring has no command that trains it; {EXAMPLE}.')
    fields = (said[field] for field in FIELDS[1:])
    return Entry(file.name, section, task, data, *fields, ' '.join(commands[0].split()))


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that follow from the docstrings, with what they are to hold."""
    entries = [read(file) for file in sorted((root / 'configs').glob('*.py'))]
    entries.sort(key=lambda entry: entry.order)
    readme = root / 'configs' / 'README.md'
    page = readme.read_text(encoding='utf-8')
    for section in SECTIONS:
        own = [entry for entry in entries if entry.section == section]
        title, metric = section.title, section.metric
        head = f'| config | parameters | paper, {metric} | ours, {metric} | command |\n'
        table = f'{head}| -- | -- | -- | -- | -- |\n' + ''.join(entry.row for entry in own)
        start, end = (
            f'<!-- {title}: written by {Path(__file__).name} -->',
            f'<!-- end of {title} -->',
        )
        if not (start in page and end in page):
            sys.exit(f"configs/README.md: there is no '{start}' with '{end}' below it.")
        before, _, rest = page.partition(start)
        page = f'{before}{start}\n\n{table}\n{end}{rest.partition(end)[2]}'
        models = yaml.safe_dump({'Models': [entry.model for entry in own]}, sort_keys=False)
        metafile = root / 'configs' / 'metafiles' / f'{title.lower()}.yml'
        yield metafile, METAFILE.format(about=section.about) + models
    yield readme, page


def main() -> None:
    """Write the files, or with ``--check`` only say which would change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 1 instead')
    check = parser.parse_args().check
    old = [
        (file, text)
        for file, text in texts(ROOT)
        if not file.is_file() or file.read_text(encoding='utf-8') != text
    ]
    if check and old:
        names = ', '.join(str(file.relative_to(ROOT)) for file, _ in old)
        sys.exit(
            f'{names}: not what the docstrings of the configs say; '
            'run python tools/dev/config_tables.py.'
        )
    for file, text in old:
        file.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
