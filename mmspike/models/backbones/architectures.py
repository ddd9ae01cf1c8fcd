"""The sizes of Meta-SpikeFormer, the variants of its ablations, and the checks of both."""

from mmspike.errors import UserError
from mmspike.layers import ATTENTIONS, SHORTCUTS

# Channels of the five outputs 1a, 1b, 2, 3, 4 (table 7); depths and heads are the same for all.
ARCHITECTURES = {
    '15m': dict(dims=(32, 64, 128, 256, 360), depths=(1, 1, 2, 6, 2), heads=8),
    '31m': dict(dims=(48, 96, 192, 384, 480), depths=(1, 1, 2, 6, 2), heads=8),
    '55m': dict(dims=(64, 128, 256, 512, 640), depths=(1, 1, 2, 6, 2), heads=8),
}
STRIDES = (2, 2, 2, 2, 1)
NUM_CONV_STAGES = 3
# The values of every option of a variant, the published model's first.
VARIANT_OPTIONS = {
    'token_mixer': ('sepconv', None),
    'channel_mixer': ('conv', 'mlp'),
    'attention': tuple(ATTENTIONS),
    'qkv': ('repconv', 'linear'),
    'proj': ('repconv', 'linear'),
    'shortcut': tuple(SHORTCUTS),
    'stem_stride': (2, 4),
    'pyramid': (True, False),
    'conv_stages': tuple(range(NUM_CONV_STAGES, -1, -1)),
    'positions': (None,),  # Or any number of them.
}


def resolve_variant(variant: dict | None) -> dict:
    """Fill the options of a variant up with those of the published model.

    Raises:
        UserError: If an option or its value is unknown, or names a mixer that no stage has.
    """
    given = variant or {}
    if not isinstance(given, dict) or not set(given) <= set(VARIANT_OPTIONS):
        raise UserError(
            f'variant is {variant!r}, but it must be a dict whose keys are among '
            f'{", ".join(VARIANT_OPTIONS)}.'
        )
    for key, value in given.items():
        choices = VARIANT_OPTIONS[key]
        if key == 'positions' and type(value) is int and value > 0:
            continue
        if (type(value), value) not in [(type(choice), choice) for choice in choices]:
            also = ' or a positive integer' if key == 'positions' else ''
            raise UserError(
                f'variant {key} is {value!r}, but it must be one of '
                f'{", ".join(map(repr, choices))}{also}.'
            )
    variant = {key: given.get(key, choices[0]) for key, choices in VARIANT_OPTIONS.items()}
    for key in ('token_mixer', 'channel_mixer'):
        if not variant['conv_stages'] and variant[key] != VARIANT_OPTIONS[key][0]:
            raise UserError(
                f'variant {key} is {variant[key]!r}, but with conv_stages=0 no block has it: leave '
                'one of the two out.'
            )
    return variant


def resolve_arch(arch: str | dict, variant: dict) -> dict:
    """Look an architecture up, or check one given as a dict, and change it into the variant.

    Args:
        arch: A name, or a dict of dims, depths and heads.
        variant: All options, as `resolve_variant` returns them.

    Returns:
        The dict with `strides` added, one for each stage: None where a stage follows the one before
        it directly.

    Raises:
        UserError: If the name is unknown or the dict does not describe five stages.
    """
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise UserError(
                f'arch is {arch!r}, but it must be one of {", ".join(ARCHITECTURES)}, or a dict '
                'of dims, depths and heads.'
            )
        arch = ARCHITECTURES[arch]
    if not isinstance(arch, dict) or set(arch) != {'dims', 'depths', 'heads'}:
        raise UserError(
            f'arch is {arch!r}, but it must be a name or a dict with exactly the keys dims, '
            'depths and heads.'
        )
    for key in ('dims', 'depths'):
        values = arch[key]
        if len(values) != len(STRIDES) or any(not isinstance(v, int) or v < 1 for v in values):
            raise UserError(
                f'arch {key} is {values!r}, but it must be {len(STRIDES)} positive integers, one '
                'for each of the stages 1a, 1b, 2, 3 and 4.'
            )
    heads = arch['heads']
    if not isinstance(heads, int) or heads < 1:
        raise UserError(f'arch heads is {heads!r}, but it must be a positive integer.')
    dims = list(arch['dims'])
    strides: list[int | None] = list(STRIDES)
    if variant['stem_stride'] == STRIDES[0] * STRIDES[1]:
        dims[0] = dims[1]
        strides[:2] = variant['stem_stride'], None
    if not variant['pyramid']:
        dims[-1], strides[-1] = dims[-2], None
    if any(dim % heads for dim in dims[variant['conv_stages'] :]):
        raise UserError(
            f'arch dims are {arch["dims"]!r}, but those of the stages with attention must be '
            f'multiples of heads ({heads}): change dims or heads.'
        )
    return dict(arch, dims=tuple(dims), strides=tuple(strides))
