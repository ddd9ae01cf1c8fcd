"""What all tests share."""

import pytest
import torch

from mmspike.compat import make_torchvision_importable

make_torchvision_importable()  # Tests import mmdet and mmpretrain without the tools.


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
