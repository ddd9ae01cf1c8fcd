"""The names in the released checkpoints of E-SpikeFormer, with and without branch scales."""

from mmspike.models.released import ReleasedNames

from .meta_spikeformer_released import FIVE_STAGES

RELEASED = ReleasedNames(
    network='E-SpikeFormer',
    mark=r'.*\.pwconv1\.1\.',
    renames=(
        # separable convolution, of convolutional and of transformer blocks
        (r'\.Conv\.(pw|dw)conv', r'.token_mixer.\1conv'),
        (r'\.conv\.(pw|dw)conv', r'.local_mixer.\1conv'),
        (r'\.pwconv([12])\.', r'.pointwise\1.'),
        (r'\.dwconv\.', '.depthwise.'),
        # attention
        (r'\.attn\.q_conv\.', '.token_mixer.query_conv.'),
        (r'\.attn\.k_conv\.', '.token_mixer.key_conv.'),
        (r'\.attn\.v_conv\.', '.token_mixer.value_conv.'),
        (r'\.attn\.proj_conv\.', '.token_mixer.proj.'),
        # their convolutions and norms
        (r'(pointwise[12]|depthwise|_conv|\.proj)\.0\.', r'\1.conv.'),
        (r'(pointwise[12]|depthwise|_conv|\.proj)\.1\.', r'\1.norm.'),
        *FIVE_STAGES,
        (r'\.layer_scale([123])$', lambda m: f'.scales.{int(m[1]) - 1}'),
    ),
    source='https://github.com/BICLab/Spike-Driven-Transformer-V3 links to those of all three '
    'sizes, in SDT_V3/Classification/Model_Base/Train_Base.md',
    config='espikeformer-{size}_t1_in1k.py',
)
