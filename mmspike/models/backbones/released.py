"""The released checkpoints of Meta-SpikeFormer in the names of `mmspike.MetaSpikeFormer`."""

import re
from collections.abc import Callable, Iterable

from torch import Tensor

from mmspike.errors import UserError

FIRST = 'downsample1_1.'  # How their first names begin.
# In order; each pattern is tried on what the one before it left.
_RENAMES: list[tuple[str, str | Callable[[re.Match], str]]] = [
    # stages
    (r'^downsample1_1\.', 'backbone.downsamplings.0.'),
    (r'^downsample1_2\.', 'backbone.downsamplings.1.'),
    (r'^downsample([234])\.', r'backbone.downsamplings.\1.'),
    (r'^ConvBlock1_1\.', 'backbone.stages.0.'),
    (r'^ConvBlock1_2\.', 'backbone.stages.1.'),
    (r'^ConvBlock2_1\.0\.', 'backbone.stages.2.0.'),
    (r'^ConvBlock2_2\.0\.', 'backbone.stages.2.1.'),
    (r'^block([34])\.', r'backbone.stages.\1.'),
    (r'^head\.', 'head.fc.'),
    (r'^head_kd\.', 'head.fc_kd.'),
    # downsampling
    (r'\.encode_conv\.', '.conv.'),
    (r'\.encode_bn\.', '.norm.'),
    # convolutional block
    (r'\.Conv\.pwconv1\.', '.token_mixer.pointwise1.conv.'),
    (r'\.Conv\.bn1\.', '.token_mixer.pointwise1.norm.'),
    (r'\.Conv\.dwconv\.', '.token_mixer.depthwise.'),
    (r'\.Conv\.pwconv2\.', '.token_mixer.pointwise2.'),
    (r'\.Conv\.bn2\.', '.token_mixer.norm.'),
    (r'\.conv([12])\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.conv.'),
    (r'\.bn([12])\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.norm.'),
    # transformer block
    (r'\.mlp\.fc([12])_conv\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.conv.'),
    (r'\.mlp\.fc([12])_bn\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.norm.'),
    (r'\.attn\.q_conv\.', '.token_mixer.query_conv.'),
    (r'\.attn\.k_conv\.', '.token_mixer.key_conv.'),
    (r'\.attn\.v_conv\.', '.token_mixer.value_conv.'),
    (r'\.attn\.proj_conv\.', '.token_mixer.proj.'),
    # RepConv
    (r'\.0\.body\.0\.', '.pointwise1.'),
    (r'\.0\.body\.1\.bn\.', '.norm1.norm.'),
    (r'\.0\.body\.2\.0\.', '.depthwise.'),
    (r'\.0\.body\.2\.1\.', '.pointwise2.'),
    (r'\.0\.body\.2\.2\.', '.norm2.'),
    (r'(query_conv|key_conv|value_conv|proj)\.1\.', r'\1.norm3.'),
]


def is_released(names: Iterable[str]) -> bool:
    """Tell whether weights have the names of a released checkpoint."""
    return any(name.startswith(FIRST) for name in names)


def convert_name(name: str) -> str:
    """Translate the name of one parameter of a released checkpoint.

    Raises:
        UserError: If the name is not one of a released Meta-SpikeFormer.
    """
    converted = name
    for pattern, replacement in _RENAMES:
        converted = re.sub(pattern, replacement, converted)
    if converted == name or not converted.startswith(('backbone.', 'head.')):
        raise UserError(
            f'{name!r} is not a parameter of a released Meta-SpikeFormer classifier: is this '
            'another checkpoint, or one that was converted already?'
        )
    return converted


def convert_state_dict(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate a released state dict: names, and the MLP's 1-d convolutions to pointwise ones.

    The classification head becomes ``head.fc``, the distilled one's second head ``head.fc_kd``.

    Raises:
        UserError: If it holds a name that is not of a released Meta-SpikeFormer.
    """
    return {
        convert_name(name): value.unsqueeze(-1) if value.dim() == 3 else value
        for name, value in released.items()
    }
