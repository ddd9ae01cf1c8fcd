"""Package metadata of mmspike; torch and the OpenMMLab packages are left to the user.

A wheel carries configs, tools and model index in ``mmspike/.mim``, where openmim and the command
``mmspike`` look for them; an editable install links them there.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Put what openmim looks for beside the modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self._link(ROOT / 'mmspike' / '.mim')
        else:
            self._copy(Path(self.build_lib, 'mmspike', '.mim'))

    def _copy(self, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
                shutil.copytree(ROOT / name, target / name, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, target / name)

    def _link(self, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for name in MIM:
            (target / name).unlink(missing_ok=True)
            (target / name).symlink_to(os.path.join('..', '..', name))


def read_version() -> str:
    """Read the version without importing the package."""
    text = (ROOT / 'mmspike' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)[1]


def read_requirements(name: str) -> list[str]:
    """Read a file of requirements/ without its comments."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    return [line for line in text.splitlines() if line and not line.startswith('#')]


# Naming mmcv or mmdet in install_requires would let pip pull one family over the other.
MMINSTALL = read_requirements('mminstall')
ONEDL = [line for line in read_requirements('runtime') if line.startswith('onedl-')]
TESTS = read_requirements('tests')

setup(
    name='mmspike',
    version=read_version(),
    description='Spiking neural networks as an OpenMMLab plugin',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    author='The mmspike authors',
    keywords='spiking neural networks, object detection, semantic segmentation, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmspike', 'mmspike.*']),
    package_data={
        'mmspike.neurons': ['*.h', '*.cpp', '*/*.cpp'],
        'mmspike.commands': ['templates/*.jinja'],
    },
    cmdclass={'build_py': BuildWithMim},
    python_requires='>=3.10',
    install_requires=read_requirements('install'),
    extras_require={
        'mim': MMINSTALL,
        'mminstall': MMINSTALL,
        'mmdet': [*MMINSTALL, 'mmdet>=3.3.0,<4.0.0'],
        'mmseg': [*MMINSTALL, 'mmsegmentation>=1.2.2,<2.0.0'],
        'mmpretrain': [*MMINSTALL, 'mmpretrain>=1.2.0,<2.0.0'],
        'onedl': ONEDL,
        'export': read_requirements('exportinstall'),
        'tests': TESTS,
        'all': TESTS,
        'dev': [*TESTS, 'coverage>=7', 'pre-commit>=4'],
    },
    entry_points={'console_scripts': ['mmspike=mmspike.commands.main:main']},
)
