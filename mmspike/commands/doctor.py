"""Say what is installed, what works, and what is missing.

It imports nothing of OpenMMLab before it has looked, so that it runs where nothing else does.
"""

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, metadata

from mmspike.version import __version__

# Import name, and the names on PyPI: OpenMMLab's own and OneDL's.
PACKAGES = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
LIBRARIES = {
    'mmdet': 'detection and instance segmentation',
    'mmseg': 'semantic segmentation',
    'mmpretrain': 'classification and pretraining',
}
# Without these nothing works; of the libraries, one is enough.
CORE = ('torch', 'family', 'mmengine', 'mmcv', 'mmcv.ops')
HELPERS = ('ftfy', 'pycocotools', 'regex', 'shapely', 'terminaltables')


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        name: What was looked at.
        state: ``'ok'``, ``'missing'`` (something optional is not there) or ``'broken'``.
        text: What was found.
        remedy: What to do about it.
    """

    name: str
    state: str
    text: str
    remedy: str = ''


def doctor(argv: Sequence[str] | None = None) -> int:
    """Print the report.

    Args:
        argv: Takes no arguments.

    Returns:
        0 if models can be trained and tested, else 1.
    """
    findings = examine()
    width = max(len(finding.name) for finding in findings)
    print(f'mmspike {__version__}, Python {platform.python_version()}, {platform.platform()}')
    for finding in findings:
        print(f'[{finding.state:^7}] {finding.name:{width}}  {finding.text}')
        if finding.remedy:
            print(f'{"":{width + 12}}-> {finding.remedy}')
    libraries = [f.name for f in findings if f.name in LIBRARIES and f.state == 'ok']
    if any(f.state != 'ok' for f in findings if f.name in CORE) or not libraries:
        print('mmspike cannot work here yet: see the lines above.')
        return 1
    print(f'mmspike works here, with {", ".join(libraries)}.')
    return 0


def examine() -> list[Finding]:
    """Look at everything that mmspike needs or can use."""
    family = _family()
    findings = [_examine_torch(), family]
    onedl = 'OneDL' in family.text
    findings += [_examine_package(name, onedl) for name in ('mmengine', 'mmcv')]
    findings.append(_examine_ops())
    findings.append(_examine_torchvision())
    findings += [_examine_package(name, onedl) for name in LIBRARIES]
    findings += [_examine_helpers(), _examine_compiler()]
    if not onedl:
        findings.append(_examine_setuptools())
    return findings


def installed(name: str) -> str | None:
    """The installed version of a package by its name on PyPI; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _imports(name: str) -> str:
    """Import a module, and say what goes wrong in one line."""
    try:
        import_module(name)
    except Exception as error:  # Whatever a broken installation may raise.
        return f'{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ""}'
    return ''


def _examine_torch() -> Finding:
    if trouble := _imports('torch'):
        return Finding('torch', 'broken', trouble, 'install torch: https://pytorch.org')
    import torch

    if not torch.cuda.is_available():
        return Finding('torch', 'ok', f'{torch.__version__}, no GPU: models run on the CPU')
    names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return Finding(
        'torch',
        'ok',
        f'{torch.__version__}, {torch.cuda.device_count()} GPU ({", ".join(sorted(names))})',
    )


def _family() -> Finding:
    own = [names[0] for names in PACKAGES.values() if installed(names[0])]
    onedl = [names[1] for names in PACKAGES.values() if installed(names[1])]
    if own and onedl:
        return Finding(
            'family',
            'broken',
            f'both families are installed and overwrite each other: {", ".join(own + onedl)}',
            f'uninstall all of them (pip uninstall {" ".join(own + onedl)}) and install one family',
        )
    if onedl:
        return Finding('family', 'ok', "OneDL's packages")
    if own:
        return Finding('family', 'ok', "OpenMMLab's own packages")
    return Finding(
        'family', 'broken', 'no OpenMMLab packages', 'pip install mmspike[onedl], or [mim]'
    )


def _examine_package(name: str, onedl: bool) -> Finding:
    project = PACKAGES[name][onedl]
    version = installed(project)
    if version is None:
        lost = LIBRARIES.get(name, 'everything here')
        return Finding(
            name, 'missing', f'not installed: needed for {lost}', f'pip install {project}'
        )
    _declare_operators()
    if trouble := _imports(name):
        return Finding(
            name,
            'broken',
            f'{version} is installed, but its import fails: {trouble}',
            'install a version that fits: docs/install.md lists those that are tested',
        )
    return Finding(name, 'ok', version)


def _examine_ops() -> Finding:
    if trouble := _imports('mmcv.ops'):
        return Finding(
            'mmcv.ops',
            'broken',
            trouble,
            'mmcv needs operators compiled for this torch: docs/install.md, or '
            'python3 tools/setup_env.py in a checkout',
        )
    return Finding('mmcv.ops', 'ok', 'the compiled operators load')


def _examine_torchvision() -> Finding:
    version = installed('torchvision')
    if version is None:
        return Finding(
            'torchvision',
            'missing',
            'not installed: mmpretrain imports it',
            'pip install --no-deps torchvision, in the version that belongs to your torch',
        )
    python_alone = _declare_operators()
    if trouble := _imports('torchvision'):
        return Finding(
            'torchvision', 'broken', trouble, 'install the torchvision that belongs to your torch'
        )
    alone = ', its Python part alone, which is enough' if python_alone else ''
    return Finding('torchvision', 'ok', version + alone)


def _declare_operators() -> bool:
    """Make torchvision importable, as the tools do; without torch there is nothing to do."""
    if _imports('mmspike.compat'):
        return False
    return import_module('mmspike.compat').make_torchvision_importable()


def _examine_helpers() -> Finding:
    lost = [name for name in HELPERS if installed(name) is None]
    if lost:
        return Finding(
            'helpers',
            'missing',
            f'{", ".join(lost)}: the libraries import them without asking for them',
            f'pip install {" ".join(lost)}',
        )
    return Finding('helpers', 'ok', ', '.join(HELPERS))


def _examine_compiler() -> Finding:
    compiler = next((c for c in ('g++', 'clang++', 'c++') if shutil.which(c)), None)
    if compiler is None:
        return Finding(
            'compiler',
            'missing',
            'no C++ compiler: neurons run as plain loops, which are slower',
            'install one, on Debian or Ubuntu with apt-get install g++',
        )
    return Finding('compiler', 'ok', f'{compiler}: neurons run compiled')


def _examine_setuptools() -> Finding:
    version = installed('setuptools')
    if version and int(version.partition('.')[0]) >= 82:
        return Finding(
            'setuptools',
            'broken',
            f"{version}: OpenMMLab's own packages need pkg_resources, which it lacks",
            "pip install 'setuptools<82'",
        )
    return Finding('setuptools', 'ok', version or 'not installed')
