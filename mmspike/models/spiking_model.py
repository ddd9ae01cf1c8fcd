"""What makes a model of mmdet, mmseg or mmpretrain spike as a whole."""

from torch import nn

from mmspike.errors import UserError
from mmspike.neurons import default_neuron, set_time_steps

HEADS = ('rpn_head', 'bbox_head', 'decode_head')


class SpikingModel:
    """Mixin before a stock model: its backbone's neuron and time steps hold for all its parts.

    Both are written once, in the backbone's config: ``time_steps`` is handed to every neuron and
    readout behind the backbone when the model is built, and layers without a neuron config of
    their own get the backbone's.

    Raises:
        UserError: If a head is told other strides than the levels of a feature pyramid have.
    """

    def __init__(self, *args, backbone: dict, **kwargs) -> None:
        with default_neuron(backbone.get('neuron')):
            super().__init__(*args, backbone=backbone, **kwargs)
        for child in self.children():
            if child is not self.backbone:
                set_time_steps(child, self.backbone.out_time_steps)
        for name in HEADS:
            self._check_strides(name)

    def _check_strides(self, name: str) -> None:
        """Compare what a head is told with the backbone's strides, which an FPN keeps.

        A wrong stride would train without complaint, anchors and features in different places.
        """
        head, neck = getattr(self, name, None), getattr(self, 'neck', None)
        real = getattr(self.backbone, 'out_strides', None)
        told = _told_strides(head)
        if not (real and told and hasattr(neck, 'lateral_convs')):
            return
        real = real[getattr(neck, 'start_level', 0) :]
        pairs = list(zip(real, told, strict=False))  # A pyramid may go on above the backbone.
        if any(own != stride for own, stride in pairs):
            raise UserError(
                f'{name} is told the strides {tuple(told)}, but the levels that the neck makes of '
                f'the backbone have {tuple(real)}; set them there, or model.backbone.out_strides.'
            )


def _told_strides(head: nn.Module | None) -> list[int] | None:
    generator = getattr(head, 'prior_generator', None)
    if generator is not None:
        return [max(stride) for stride in generator.strides]  # Pairs (width, height).
    return getattr(head, 'feature_strides', None)
