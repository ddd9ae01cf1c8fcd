"""Package metadata of mmspike; torch and the OpenMMLab packages are left to tools/setup_env.py."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Read the version without importing the package, which needs torch."""
    text = (ROOT / 'mmspike' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)[1]


def read_requirements(name: str) -> list[str]:
    """Read a file of requirements/ without its comments."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    return [line for line in text.splitlines() if line and not line.startswith('#')]


def read_readme() -> str:
    """Read the README, which a checkout under way may not have yet."""
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.is_file() else ''


setup(
    name='mmspike',
    version=read_version(),
    description='Spiking neural networks as an OpenMMLab plugin',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmspike', 'mmspike.*']),
    include_package_data=True,
    python_requires='>=3.10',
    # Naming mmcv or mmdet here would let pip pull one OpenMMLab family over the other.
    install_requires=[],
    extras_require={
        'tests': read_requirements('tests'),
        'dev': [*read_requirements('tests'), 'pre-commit>=4'],
    },
)
