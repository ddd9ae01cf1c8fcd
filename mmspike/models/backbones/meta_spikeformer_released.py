"""The names in the released checkpoints of Meta-SpikeFormer."""

from mmspike.models.released import ReleasedNames

# What the released files of Meta-SpikeFormer and of its successor name alike.
FIVE_STAGES = (
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
    # downsampling
    (r'\.encode_conv\.', '.conv.'),
    (r'\.encode_bn\.', '.norm.'),
    # channel mixers
    (r'\.conv([12])\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.conv.'),
    (r'\.bn([12])\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.norm.'),
    (r'\.mlp\.fc([12])_conv\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.conv.'),
    (r'\.mlp\.fc([12])_bn\.', lambda m: f'.channel_mixer.{int(m[1]) - 1}.norm.'),
)
RELEASED = ReleasedNames(
    network='Meta-SpikeFormer',
    mark=r'downsample1_1\.',
    foreign=r'.*\.pwconv1\.1\.',  # E-SpikeFormer's.
    renames=(
        # convolutional block
        (r'\.Conv\.pwconv1\.', '.token_mixer.pointwise1.conv.'),
        (r'\.Conv\.bn1\.', '.token_mixer.pointwise1.norm.'),
        (r'\.Conv\.dwconv\.', '.token_mixer.depthwise.'),
        (r'\.Conv\.pwconv2\.', '.token_mixer.pointwise2.'),
        (r'\.Conv\.bn2\.', '.token_mixer.norm.'),
        *FIVE_STAGES,
        (r'^head_kd\.', 'head.fc_kd.'),  # The second head of the distilled one.
        # transformer block
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
    ),
    source='https://github.com/BICLab/Spike-Driven-Transformer-V2 links to them; that of the 55M '
    'is public',
    config='metaspike-{size}_t1_in1k.py',
)
