"""Spiking classifiers: mmpretrain's, with one time axis through all their parts, and a teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from mmspike.errors import UserError
from mmspike.models.spiking_model import SpikingModel
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeImageClassifier(SpikingModel, ImageClassifier):
    """An image classifier that spikes from the backbone to the last linear layer."""


@MODELS.register_module()
class DistilledSpikeClassifier(SpikeImageClassifier):
    """A spiking classifier that learns from the labels and from a teacher (see DeiT).

    The teacher is frozen and sees the student's images, normalized as its own `data_preprocessor`
    says if it has one. It is no part of the student: its weights are not in the student's
    checkpoints.

    Args:
        args: As of `mmpretrain.models.ImageClassifier`; the head takes ``teacher_logits``, as
            `mmspike.SpikeDistilledClsHead` does.
        teacher: Any model of mmpretrain, as a model config or a config file. None builds a model
            that can be tested, not trained.
        teacher_checkpoint: The teacher's weights, a file.
        kwargs: As of `mmpretrain.models.ImageClassifier`.

    Raises:
        UserError: If there is a teacher without a checkpoint, or one of other classes.
    """

    teacher: Any
    head: Any

    def __init__(
        self,
        *args: Any,
        teacher: dict | str | Path | None = None,
        teacher_checkpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # Past nn.Module's registration, which would make its weights the student's.
        object.__setattr__(self, 'teacher', None)
        if teacher is not None:
            object.__setattr__(self, 'teacher', self._build(teacher, teacher_checkpoint))

    def _build(self, teacher: dict | str | Path, checkpoint: str | None) -> ImageClassifier:
        if not checkpoint:
            raise UserError(
                'teacher_checkpoint is not set, but a teacher without training teaches nothing; '
                'name a checkpoint with --cfg-options model.teacher_checkpoint=FILE.'
            )
        cfg = teacher
        if not isinstance(cfg, dict):
            whole = Config.fromfile(cfg)
            # The runner of mmpretrain hands a model what stands beside it in its config.
            beside = {'data_preprocessor': whole.get('data_preprocessor')}
            cfg = {**beside, **whole.model}
        self._teacher_has_own = bool(cfg.get('data_preprocessor'))
        init_cfg = {'type': 'Pretrained', 'checkpoint': checkpoint}
        built = MODELS.build({**cfg, 'init_cfg': init_cfg})
        own, theirs = (getattr(m.head, 'num_classes', None) for m in (self, built))
        if theirs is not None and own != theirs:
            raise UserError(
                f'the teacher has num_classes={theirs} and the student num_classes={own}; give '
                'both the same classes.'
            )
        return built.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialize the student, and load the teacher's weights."""
        super().init_weights()
        if self.teacher is not None:
            self.teacher.init_weights()
            self.teacher.eval()

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> 'DistilledSpikeClassifier':
        if self.teacher is not None:
            self.teacher._apply(fn, *args, **kwargs)  # To the same device.
        return super()._apply(fn, *args, **kwargs)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Compute the losses against labels and teacher.

        Args:
            inputs: Images ``[B, C, H, W]``.
            data_samples: With the labels.

        Raises:
            UserError: If there is no teacher.
        """
        if self.teacher is None:
            raise UserError(
                'model.teacher is not set, but distillation learns from one; set it to a config of '
                'mmpretrain and model.teacher_checkpoint to its weights.'
            )
        with torch.no_grad():
            logits = self.teacher(self._as_the_teacher_sees(inputs))
        return self.head.loss(self.extract_feat(inputs), data_samples, teacher_logits=logits)

    def _as_the_teacher_sees(self, images: Tensor) -> Tensor:
        """Normalize the student's images ``[B, C, H, W]`` as the teacher was trained."""
        own: Any = self.data_preprocessor
        theirs = self.teacher.data_preprocessor
        if not self._teacher_has_own or not hasattr(theirs, '_enable_normalize'):
            return images
        if own._enable_normalize:
            images = images * own.std + own.mean
        if own.to_rgb != theirs.to_rgb and images.shape[1] == 3:
            images = images.flip(1)
        return (images - theirs.mean) / theirs.std if theirs._enable_normalize else images
