"""Let torchvision's Python part be imported where its compiled part does not load.

torchvision is built for one kind of torch. Beside a CPU build of torch from another source its
compiled operators fail to load, and its import then fails as it registers shapes for two operators
that nobody declared. mmpretrain and mmengine import torchvision, and need only its Python part:
declaring the two is enough. Where torchvision is whole, or absent, nothing happens.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_library: torch.library.Library | None = None  # The declarations live as long as this does.


def make_torchvision_importable() -> bool:
    """Declare torchvision's operators if its compiled part does not load; tell if it was so."""
    global _library
    spec = find_spec('torchvision')
    if spec is None or spec.origin is None:
        return False
    if _library is not None or hasattr(torch.ops.torchvision, 'nms'):
        return _library is not None
    for file in Path(spec.origin).parent.glob('_C.*'):
        try:
            torch.ops.load_library(file)
        except OSError:
            continue
        return False
    _library = torch.library.Library('torchvision', 'DEF')
    for schema in _SCHEMAS:
        _library.define(schema)
    return True
