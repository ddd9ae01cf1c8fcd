"""The commands that README and docs show, as the shell itself reads them."""

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    'README.md',
    'CONTRIBUTING.md',
    'configs/README.md',
    *sorted(f'docs/{path.name}' for path in ROOT.glob('docs/*.md')),
)
PROGRAMS = ('python', 'python3', 'bash', 'source', 'pip', 'mmspike')
# Whatever a block calls is written down and not run; variables, loops and quotes are the shell's.
RECORD = r"""
record() { printf '%s\0' "$@" >&3; printf '\n\0' >&3; }
command_not_found_handle() { record "$@"; }
PATH=nowhere
"""


def blocks(text: str) -> list[str]:
    """Find the bash blocks of a document, fenced or indented by four, and commands in a line."""
    fenced = r'^( *)```(\w*)\n(.*?)^ *```'
    found = [
        textwrap.dedent(body)
        for _, language, body in re.findall(fenced, text, re.DOTALL | re.MULTILINE)
        if language in ('bash', 'sh', 'console')
    ]
    rest = re.sub(fenced, '', text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r'(?:^|(?<=\n\n))(?:    .*\n)+', rest)
    found += [textwrap.dedent(block) for block in indented if 'tools/' in block]
    programs = '|'.join(PROGRAMS)
    inline = re.findall(rf'`((?:{programs}) [^`]+)`', rest.replace('\n', ' '))
    # A command in a sentence has arguments: a file, an option or one of mmspike's own.
    return found + [command for command in inline if re.search(r'/|--|^pip |^mmspike ', command)]


def commands(text: str) -> list[tuple[str, ...]]:
    """Let the shell split the commands of a document into their words."""
    if not (shell := shutil.which('bash')):
        return []
    found = []
    for block in blocks(text):
        functions = ''.join(f'{name}() {{ record {name} "$@"; }}\n' for name in PROGRAMS)
        read, write = os.pipe()
        script = f'exec 3>&{write}\n{RECORD}{functions}{block}'
        done = subprocess.run([shell, '-c', script], pass_fds=[write], capture_output=True)
        os.close(write)
        with os.fdopen(read, 'rb') as pipe:
            recorded = pipe.read().decode()
        assert not done.stderr, f'{block}\n{done.stderr.decode()}'
        words = []
        for word in recorded.split('\0'):
            if word == '\n':
                found.append(tuple(words))
                words = []
            else:
                words.append(word)
    return found


def all_commands() -> dict[tuple[str, ...], str]:
    """Every command once, with the first document that shows it."""
    found = {}
    for document in DOCUMENTS:
        for command in commands((ROOT / document).read_text()):
            found.setdefault(command, document)
    return found


def write_shapes_as(root: Path, shapes: Path, names: tuple[str, ...], split_of: dict) -> None:
    """Copy generated shapes into another folder of COCO's layout, under other class names.

    Args:
        root: The folder to write.
        shapes: The generated shapes.
        names: The classes; a shape beyond them gets the last.
        split_of: What the splits are called there.
    """
    (root / 'annotations').mkdir(parents=True)
    for split, name in split_of.items():
        shutil.copytree(shapes / split, root / name)
        told = json.loads((shapes / f'annotations/instances_{split}.json').read_text())
        told['categories'] = [dict(id=i, name=n) for i, n in enumerate(names, 1)]
        for instance in told['annotations']:
            instance['category_id'] = min(instance['category_id'], len(names))
        (root / f'annotations/instances_{name}.json').write_text(json.dumps(told))
