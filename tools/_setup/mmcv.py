"""mmcv: compiled once for a torch, kept as a wheel in the user's cache."""

import os
import re
import shutil
import subprocess
import sysconfig
import zipfile
import zlib
from pathlib import Path

from _setup.commands import Setup, SetupError, cache_dir

# What several of mmcv's operators define for themselves, in files that are now compiled as one.
OWN_NAMES = ('PreCalc', 'add', 'bilinear_interpolate_gradient')


def compiler() -> str | None:
    """The C++ compiler to use, if there is one."""
    names = [os.environ.get('CXX'), 'c++', 'g++', 'clang++']
    return next((name for name in names if name and shutil.which(name)), None)


def compiler_family(name: str | None) -> str:
    """Tell gcc from other compilers; without one, gcc is what a cached wheel was made with."""
    if name is None:
        return 'gcc'
    shown = subprocess.run([name, '--version'], capture_output=True, text=True, check=False)
    return 'gcc' if 'Free Software Foundation' in shown.stdout else 'clang'


def has_nvcc() -> bool:
    """Whether CUDA code can be compiled here."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH') or '/usr/local/cuda'
    return shutil.which('nvcc') is not None or (Path(home) / 'bin' / 'nvcc').is_file()


def cpu_count() -> int:
    """The number of CPU cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wheel_key(python: str, torch: str, mmcv: str, family: str, ops: str) -> str:
    """The name under which a compiled mmcv wheel is kept."""
    machine = re.sub(r'\W', '_', sysconfig.get_platform())
    return f'{python}-{machine}-torch{torch}-mmcv{mmcv}-{family}-{ops}'


def good_wheel(path: Path) -> bool:
    """Whether a wheel can be read to its end and holds compiled operators."""
    try:
        with zipfile.ZipFile(path) as wheel:
            compiled = any(name.startswith('mmcv/_ext') for name in wheel.namelist())
            return compiled and wheel.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def cached_wheel(key: str) -> Path | None:
    """The kept mmcv wheel for a key; a damaged one is thrown away."""
    for path in sorted((cache_dir() / 'wheels' / key).glob('*.whl')):
        if good_wheel(path):
            return path
        path.unlink()
    return None


def no_compiler() -> SetupError:
    """The error for a machine that has no C++ compiler."""
    return SetupError(
        'there is no C++ compiler on PATH and mmcv has to be compiled once: install one '
        '(on Debian or Ubuntu: apt-get install g++) and run the same command again.'
    )


def check_compiler(setup: Setup) -> None:
    """Stop before any download when mmcv can be neither compiled nor taken from the cache."""
    wheels = (cache_dir() / 'wheels').glob(f'*-mmcv{setup.mmcv}-*/*.whl')
    if compiler() is None and not list(wheels):
        raise no_compiler()


def python_tag(setup: Setup) -> str:
    """The tag of the environment's Python in wheel names, such as cp311."""
    return 'cp' + setup.site.parent.name.removeprefix('python').replace('.', '')


def mmcv_key(setup: Setup) -> tuple[str, bool]:
    """The cache key of the mmcv wheel wanted here, and whether it has CUDA operators."""
    torch = setup.torch_version()
    code = 'import torch; print(torch.version.cuda is not None, torch.cuda.is_available())'
    status, output = setup.run([str(setup.python), '-c', code])
    if status:
        raise SetupError(f'torch {torch} is installed but cannot be imported (log: {setup.log}).')
    cuda, gpu = (word == 'True' for word in output.split()[-2:])
    if cuda and not has_nvcc():
        raise SetupError(
            f'torch {torch} is a CUDA build, but nvcc, which compiles mmcv for it, was not found: '
            'install the CUDA toolkit or set CUDA_HOME, or use a CPU build of torch.'
        )
    if cuda and not gpu and not os.environ.get('TORCH_CUDA_ARCH_LIST'):
        raise SetupError(
            f'torch {torch} is a CUDA build, but no GPU is here to compile mmcv for: set '
            "TORCH_CUDA_ARCH_LIST to the compute capabilities of yours, such as '8.0 9.0', or use "
            'a CPU build of torch.'
        )
    ops = 'cuda' if cuda else 'cpu'
    return wheel_key(python_tag(setup), torch, setup.mmcv, compiler_family(compiler()), ops), cuda


def python_headers(setup: Setup) -> Path:
    """The folder of Python.h, which some distributions ship apart."""
    code = 'import sysconfig; print(sysconfig.get_paths()["include"])'
    folder = Path(setup.run([str(setup.python), '-c', code])[1].strip())
    if not (folder / 'Python.h').is_file():
        raise SetupError(
            f'{folder} has no Python.h, which compiling mmcv needs: install the headers '
            '(on Debian or Ubuntu: apt-get install python3-dev) and run the same command again.'
        )
    return folder


def fetch_source(setup: Setup, build: Path, env: dict[str, str]) -> Path:
    """Download and unpack mmcv's source."""
    options = ['--no-deps', '--no-build-isolation', '--no-binary', ':all:', '-d', str(build)]
    setup.pip('download', *options, f'{setup.mmcv_name}=={setup.mmcv}', extra_env=env)
    archive = next(build.glob('*.tar.gz'))
    shutil.unpack_archive(archive, build)
    return build / archive.name.removesuffix('.tar.gz')


def merge_sources(source: Path) -> None:
    """Let all operators be compiled in one piece, but for the file that names them to Python.

    Each of 80 small files would parse torch's headers again, which takes longer than the rest. Of
    the sparse 3-d convolutions the CPU has helpers alone, which nothing in a CPU build calls.
    """
    folder = source / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    names = folder / 'pybind.cpp'
    # It runs once, at import: making that faster is a third of its compilation.
    names.write_text('#pragma GCC optimize("O0")\n' + names.read_text(encoding='utf-8'))
    merged = []
    for file in sorted({*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')} - {names}):
        part = file.rename(file.with_suffix('.inc'))
        if file.name.startswith('sparse_') and file.parent.name == 'cpu':
            continue
        merged += [f'#define {name} {file.stem}_{name}' for name in OWN_NAMES]
        merged.append(f'#include "{part.relative_to(folder)}"')
        merged += [f'#undef {name}' for name in (*OWN_NAMES, 'min', 'max')]
    (folder / 'operators.cpp').write_text('\n'.join(merged) + '\n')


def build_mmcv(setup: Setup, key: str, cuda: bool) -> Path:
    """Compile mmcv into a wheel and move it into the cache as the last thing."""
    cxx = compiler()
    if cxx is None:
        raise no_compiler()
    python_headers(setup)
    build = cache_dir() / 'build'
    build.mkdir(parents=True, exist_ok=True)
    env = {
        'CXX': cxx,
        'FORCE_CUDA': '1' if cuda else '0',
        'MAX_JOBS': os.environ.get('MAX_JOBS', str(cpu_count())),
        'MMCV_WITH_OPS': '1',
        'TMPDIR': str(build),
        'CFLAGS': '-O2 -g0 -w',
    }
    if not cuda:
        # mmcv would go for CUDA operators on seeing a GPU, even with no compiler for them.
        env['CUDA_VISIBLE_DEVICES'] = ''
    source = fetch_source(setup, build, env)
    if not cuda:
        merge_sources(source)
    # pip's own wheel cache does not tell torch versions apart.
    options = ['-v', '--no-cache-dir', '--no-deps', '--no-build-isolation', '-w', str(build)]
    setup.pip('wheel', *options, str(source), extra_env=env)
    return keep_wheel(next(build.glob('*.whl')), key)


def keep_wheel(built: Path, key: str) -> Path:
    """Move a finished wheel into the cache and remove what the build left."""
    if not good_wheel(built):
        raise SetupError('mmcv was built without its compiled operators.')
    kept = cache_dir() / 'wheels' / key / built.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(built, kept)
    shutil.rmtree(built.parent, ignore_errors=True)
    return kept


def install_mmcv(setup: Setup) -> None:
    """Install mmcv from the user's cache, compiling it the first time."""
    # A killed run leaves its build behind.
    shutil.rmtree(cache_dir() / 'build', ignore_errors=True)
    key, cuda = mmcv_key(setup)
    wheel = cached_wheel(key)
    title = 'install mmcv from the cache' if wheel else 'compile mmcv (a minute or two, once)'
    with setup.progress.step(title):
        wheel = wheel or build_mmcv(setup, key, cuda)
        setup.pip('install', '--no-deps', '--force-reinstall', str(wheel))
