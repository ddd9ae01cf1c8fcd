"""What set-up installs is pinned, and its files agree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_direct_requirement_is_pinned():
    """What the set-up installs; `install` and `mminstall` go into setups of other people."""
    for file in (ROOT / 'requirements').glob('*.txt'):
        ours = not file.stem.endswith('install')
        for line in file.read_text().splitlines() if ours else ():
            assert not line or line.startswith('#') or '==' in line, f'{file.name}: {line}'


def test_constraints_agree_with_the_direct_pins():
    constraints = (ROOT / 'requirements' / 'constraints.txt').read_text().splitlines()
    for name in ('build', 'runtime', 'tests'):
        for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
            if line and not line.startswith(('#', 'onedl-mmcv==')):
                assert line in constraints, f'{name}: {line}'
