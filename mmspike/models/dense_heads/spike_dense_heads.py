"""One-stage detection heads on spikes: mmdet's, averaged over time at their end."""

from mmdet.models.dense_heads import FCOSHead, RetinaSepBNHead, RTMDetSepBNHead, YOLOXHead

from mmspike.layers import SpikingHead
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeRetinaHead(SpikingHead, RetinaSepBNHead):
    """RetinaNet's head, a neuron before every convolution, averaged over time at its end.

    The levels of the pyramid share the convolutions and have norms of their own. A norm keeps the
    potentials near the threshold of the next neurons, which else start silent; one for all levels
    would test with a mixture of statistics that none of them has.

    Args: as of `mmdet.models.RetinaSepBNHead`.

    Shape:
        - input: a tuple of ``[T*B, C, H_i, W_i]``
        - output: scores ``[B, A*num_classes, H_i, W_i]`` and box deltas ``[B, 4*A, H_i, W_i]`` of
          each level, A anchors a position
    """

    readouts = ('retina_cls', 'retina_reg')


@MODELS.register_module()
class SpikeFCOSHead(SpikingHead, FCOSHead):
    """FCOS's head, a neuron before every convolution, averaged over time before the decoding.

    Args: as of `mmdet.models.FCOSHead`. Its levels share the norms, so leave mmdet's group norm: a
    batch norm would test with a mixture of statistics that no level has.

    Shape:
        - input: a tuple of ``[T*B, C, H_i, W_i]``
        - output: scores ``[B, num_classes, H_i, W_i]``, distances ``[B, 4, H_i, W_i]`` in units of
          the stride or in pixels, and centerness ``[B, 1, H_i, W_i]`` of each level
    """

    readouts = ('conv_cls', 'conv_reg', 'conv_centerness')


@MODELS.register_module()
class SpikeYOLOXHead(SpikingHead, YOLOXHead):
    """YOLOX's head, a neuron before every convolution, averaged over time before the decoding.

    Every level has convolutions and norms of its own.

    Args: as of `mmdet.models.YOLOXHead`.

    Shape:
        - input: a tuple of ``[T*B, C, H_i, W_i]``
        - output: scores ``[B, num_classes, H_i, W_i]``, centres and logarithmic sizes
          ``[B, 4, H_i, W_i]`` in units of the stride, and objectness ``[B, 1, H_i, W_i]`` of each
          level
    """

    readouts = ('multi_level_conv_cls', 'multi_level_conv_reg', 'multi_level_conv_obj')


@MODELS.register_module()
class SpikeRTMDetHead(SpikingHead, RTMDetSepBNHead):
    """RTMDet's head, a neuron before every convolution, averaged over time before the decoding.

    The levels share the convolutions and have norms of their own, so no norm can be folded into
    them (`mmspike.deploy.reparameterize`): they stay, at two multiplications a value at most.
    ``share_conv=False`` gives each level its own.

    Args: as of `mmdet.models.RTMDetSepBNHead`.

    Shape:
        - input: a tuple of ``[T*B, C, H_i, W_i]``
        - output: scores ``[B, num_classes, H_i, W_i]`` and distances ``[B, 4, H_i, W_i]`` in
          pixels of each level
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.readouts = ('rtm_cls', 'rtm_reg')
        if self.with_objectness:
            self.readouts += ('rtm_obj',)
