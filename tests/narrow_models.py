"""The models of shipped configs with few channels, which a test can build and run in a second."""

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

ARCH = dict(dims=(8, 8, 16, 16, 16), depths=(1,) * 5, heads=2)
MOST = 16  # Channels of neck and heads.


def narrow(config: Config) -> ConfigDict:
    """Copy the model of a spiking config with a narrow backbone, neck and heads.

    A detector hands on boxes of any score, but few of them: an untrained one is sure of nothing.
    """
    backbone = config.model.backbone
    with DefaultScope.overwrite_default_scope(config.default_scope):
        own = MODELS.build(dict(backbone, init_cfg=None))
    slim = type(own)(ARCH, **({'variant': backbone.variant} if 'variant' in backbone else {}))
    widths = {
        channels: slim.out_channels[i]
        for i, channels in zip(own.out_indices, own.out_channels, strict=True)
    }
    model = _narrow(config.model.to_dict(), widths)
    for part in ('decode_head', 'bbox_head'):
        given = (model.get(part) or {}).get('in_channels')
        if model.get('neck') and isinstance(given, (list, tuple)):
            model[part]['in_channels'] = [MOST] * len(given)
    model['backbone'].update(arch=ARCH, pretrained=None)
    if backbone.get('out_channels'):
        model['backbone']['out_channels'] = [widths[channels] for channels in own.out_channels]
    test_cfg = model.get('test_cfg') or {}
    for part in (test_cfg, test_cfg.get('rcnn') or {}):
        if 'score_thr' in part:
            part.update(score_thr=0.0, max_per_img=5)
    if 'rpn' in test_cfg:
        test_cfg['rpn'].update(nms_pre=50, max_per_img=10)
    return ConfigDict(model)


def _narrow(node: object, widths: dict[int, int]) -> object:
    """Map widths to a few channels; those of the backbone's outputs as `widths` says."""
    if isinstance(node, dict):
        return {key: _narrow_value(key, value, widths) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_narrow(value, widths) for value in node)
    return node


def _narrow_value(key: str, value: object, widths: dict[int, int]) -> object:
    if key == 'in_channels' and isinstance(value, (list, tuple)):
        return [widths.get(channels, channels) for channels in value]
    if key.endswith('channels') and isinstance(value, int) and value > 3:
        return widths.get(value, min(value, MOST))
    return 2 if key == 'num_groups' else _narrow(value, widths)
