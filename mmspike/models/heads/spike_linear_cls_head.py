"""Classification heads on spikes: mmpretrain's, averaged over time at their end."""

from collections.abc import Callable
from typing import Any

from mmpretrain.models.heads import LinearClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmspike.layers import SpikingHead, make_spiking
from mmspike.neurons import SpikingNeuron
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeLinearClsHead(SpikingHead, LinearClsHead):
    """A neuron, a linear layer, and the mean over time.

    Args:
        args: As of `mmpretrain.models.LinearClsHead`.
        counts: Let the linear layer see counts of spikes where the neuron is a normalized one, as
            in the released classifiers of E-SpikeFormer.
        kwargs: As of `mmpretrain.models.LinearClsHead`.

    Shape:
        - input: a tuple whose last is ``[T*B, C]``, the global average of membrane potentials
        - output: logits ``[B, num_classes]``
    """

    readouts = ('fc',)

    def __init__(self, *args: Any, counts: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.counts = counts
        self._hand_on_counts()

    def _hand_on_counts(self) -> None:
        for module in self.modules():
            if self.counts and isinstance(module, SpikingNeuron):
                module.unit = 1.0


@MODELS.register_module()
class SpikeDistilledClsHead(SpikeLinearClsHead):
    """A second linear layer learns what a teacher says; a prediction is the mean of both.

    Hard distillation as in DeiT (Touvron et al., ICML 2021): half the loss comes from the labels
    and half from the teacher's decisions. The released 55M was trained so.

    Args:
        args: As of `SpikeLinearClsHead`.
        kwargs: As of `SpikeLinearClsHead`.

    Shape:
        - input: a tuple whose last is ``[T*B, C]``
        - output: logits ``[B, num_classes]``
    """

    in_channels: int
    num_classes: int
    fc_kd: nn.Module
    pre_logits: Callable[[tuple[Tensor, ...]], Tensor]
    _get_loss: Callable[..., dict[str, Tensor]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fc_kd = nn.Linear(self.in_channels, self.num_classes)
        make_spiking(self, ['fc_kd'])
        self._hand_on_counts()

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        return (super().forward(feats) + self.fc_kd(self.pre_logits(feats))) / 2

    def loss(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample],
        teacher_logits: Tensor,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Compare both layers with what each of them learns.

        Args:
            feats: As of `forward`.
            data_samples: With the labels, B of them.
            teacher_logits: Of the same images, ``[B, num_classes]``.
            kwargs: As of the stock head.

        Returns:
            ``loss``, against the labels; ``loss_kd``, against the teacher; and the accuracy of the
            first, if ``cal_acc`` is set.
        """
        losses = self._get_loss(super().forward(feats), data_samples, **kwargs)
        logits_kd = self.fc_kd(self.pre_logits(feats))
        loss_kd = nn.functional.cross_entropy(logits_kd, teacher_logits.argmax(dim=1))
        return {**losses, 'loss': losses['loss'] / 2, 'loss_kd': loss_kd / 2}
