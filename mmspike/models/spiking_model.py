"""What makes a model of mmdet, mmseg or mmpretrain spike as a whole."""

from mmspike.neurons import default_neuron, set_time_steps


class SpikingModel:
    """Mixin before a stock model: its backbone's neuron and time steps hold for all its parts.

    Both are written once, in the backbone's config: ``time_steps`` is handed to every neuron and
    readout behind the backbone when the model is built, and layers without a neuron config of
    their own get the backbone's.
    """

    def __init__(self, *args, backbone: dict, **kwargs) -> None:
        with default_neuron(backbone.get('neuron')):
            super().__init__(*args, backbone=backbone, **kwargs)
        for child in self.children():
            if child is not self.backbone:
                set_time_steps(child, self.backbone.out_time_steps)
