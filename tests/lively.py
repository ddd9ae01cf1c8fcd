"""Models that fire: an untrained one in evaluation mode is silent, and silence passes any test."""

import torch
from torch import nn


def enliven(module: nn.Module) -> nn.Module:
    """Give every norm statistics, scales and shifts that make the neurons behind it fire."""
    generator = torch.Generator().manual_seed(7)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.1, generator=generator)
            m.running_var.uniform_(0.05, 0.3, generator=generator)
            with torch.no_grad():
                m.weight.uniform_(1.0, 3.0, generator=generator)
                m.bias.normal_(0.8, 0.8, generator=generator)
    return module
