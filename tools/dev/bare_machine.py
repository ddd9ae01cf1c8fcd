"""Run mmspike on a machine that has torch and little else, without installing anything there.

What the machine lacks comes from a folder of wheels, which are only unpacked, for example for
Python 3.12 on Linux (38 MiB). It is gathered where there is a network; mmcv without its operators
is what comes of building it in an environment without torch:

    python3.12 -m venv builder && P=builder/bin/pip
    $P install setuptools==81.0.0 wheel packaging
    $P wheel --no-deps --no-build-isolation -w wheels onedl-mmcv==2.3.6 onedl-mmdetection==3.5.1 \
        onedl-mmsegmentation==1.4.2
    $P download --no-deps -d wheels -c requirements/constraints.txt onedl-mmengine addict yapf \
        platformdirs rich termcolor markdown-it-py mdurl pygments packaging terminaltables \
        prettytable wcwidth tqdm ftfy regex six python-dateutil cycler pyparsing lazy-importer \
        loguru spikingjelly==2.0.0 matplotlib kiwisolver contourpy fonttools pillow pycocotools \
        shapely psutil pyyaml

OpenCV (52 MiB) and SciPy (34 MiB) are imported, and of both a training iteration calls no more than
OpenCV's padding of masks: where they are missing, modules with that alone stand in. Of mmcv's
operators Mask R-CNN takes RoIAlign and NMS, which are torchvision's then.
"""

import shutil
import sys
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

# With the parts that are imported.
REPLACED = {
    'cv2': (),
    'scipy': ('interpolate', 'io', 'linalg', 'ndimage', 'optimize', 'sparse', 'sparse.csgraph'),
}


class StandIn(ModuleType):
    """A module that can be imported from and not used: constants are 0, functions refuse."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)
        return 0 if name.isupper() else partial(self.refuse, name)

    def refuse(self, name: str, *_: object, **__: object) -> None:
        raise NotImplementedError(f'{self.__name__} is not here, and {name} of it was called')


class OpenCV(StandIn):
    """In the place of `cv2`: it pads masks, and nothing else of it is called."""

    def copyMakeBorder(
        self, image: np.ndarray, top: int, bottom: int, left: int, right: int, _: int, value: int
    ) -> np.ndarray:
        beyond = [(0, 0)] * (image.ndim - 2)
        return np.pad(image, [(top, bottom), (left, right), *beyond], constant_values=value)


class Operators(StandIn):
    """In the place of `mmcv._ext`: the operators of Mask R-CNN as torchvision has them."""

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        assert offset == 0, 'torchvision knows no offset'
        return torch.ops.torchvision.nms(boxes, scores, iou_threshold)

    def roi_align_forward(self, x: Tensor, rois: Tensor, out: Tensor, *_, **options) -> None:
        out.copy_(torch.ops.torchvision.roi_align(x, rois, *self.sampling(options)))

    def roi_align_backward(self, grad: Tensor, rois: Tensor, _, __, out: Tensor, **options) -> None:
        scale, height, width, *last = self.sampling(options)
        run = torch.ops.torchvision._roi_align_backward
        out.copy_(run(grad, rois, scale, height, width, *out.shape, *last))

    def sampling(self, options: dict) -> list:
        assert options['pool_mode'] == 1, 'torchvision averages'
        names = ('spatial_scale', 'aligned_height', 'aligned_width', 'sampling_ratio', 'aligned')
        return [options[name] for name in names]


def unpack(wheels: Path, folder: str) -> None:
    """Unpack wheels and let Python find them behind all that the machine has."""
    for wheel in sorted(wheels.glob('*.whl')):
        shutil.unpack_archive(wheel, folder, 'zip')
    sys.path.append(folder)


def one_line(error: BaseException) -> str:
    """The kind of an error and its first line."""
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0][:300] if text else ""}'


def stand_in() -> str:
    """Replace what is missing of REPLACED and of mmcv; say where mmcv's operators come from."""
    for package, parts in REPLACED.items():
        if package not in sys.modules and find_spec(package) is None:
            for name in (package, *(f'{package}.{part}' for part in parts)):
                sys.modules[name] = OpenCV(name) if name == 'cv2' else StandIn(name)
    try:
        if not isinstance(import_module('mmcv._ext'), Operators):
            return "mmcv's"
    except ImportError as error:
        if find_spec('mmcv') is None:
            return f'none: {error}'
        sys.modules['mmcv._ext'] = Operators('mmcv._ext')
    try:
        import_module('torchvision')
        return f"torchvision's ({torch.ops.torchvision.roi_align})"
    except Exception as error:  # Whatever stops torchvision: other steps need none.
        return f'none: mmcv has none here, and torchvision none either ({one_line(error)})'
