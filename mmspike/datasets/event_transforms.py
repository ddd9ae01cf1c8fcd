"""Event streams and folders of frames as one stack of T frames, which transforms treat alike.

A stack is an image ``[H, W, T*C]`` of ``num_frames`` frames: the C channels of frame 0, then those
of frame 1, and so on. A stock transform of geometry (`RandomFlip`, `Resize`, `RandomResizedCrop`,
`CenterCrop`) therefore draws once for the whole sequence. Transforms of colour do not fit.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import nn

from mmspike.errors import UserError
from mmspike.neurons import check_time_steps
from mmspike.registry import TRANSFORMS

from .event_files import check_events, read_events
from .transforms import IMAGES, LoadImageFromFile


@TRANSFORMS.register_module()
class LoadEvents(BaseTransform):
    """Load the events of one recording.

    The file is an array ``[N, 4]`` of (t, x, y, p) or one with these four fields (`.npy`), four
    arrays of these names or a single one of the first kind (`.npz`), or anything else a text of
    four columns, parted by blanks or commas, in which lines beginning with ``#`` are comments. A
    heading gives the columns in any order; other usual names are known too (``timestamp``,
    ``x_pos``, ``polarity``). Time stamps have any unit; p is 0, -1 or false where it became darker,
    and 1 or true where brighter.
    """

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']`` into ``results['events']``.

        Args:
            results: With ``img_path`` and ``sensor_size`` (width, height), as of
                `mmspike.EventDataset`.

        Shape:
            - ``events``: ``[N, 4]``, float64, with p 0 or 1

        Raises:
            UserError: If the file cannot be read, holds no event or a wrong one.
        """
        path = results['img_path']
        events = read_events(path)
        check_events(events, results['sensor_size'], path)
        events[:, 3] = events[:, 3] > 0
        results['events'] = events
        return results


class FrameMaker(BaseTransform):
    """What makes a stack of T frames.

    Args:
        time_steps: The number of frames T. None takes it from the model: the tools of mmspike hand
            on ``model.backbone.time_steps``, so that it is written once.

    Raises:
        UserError: If `time_steps` is neither None nor a positive integer.
    """

    def __init__(self, time_steps: int | None = None) -> None:
        self.time_steps = None if time_steps is None else check_time_steps(time_steps)

    def follow(self, time_steps: int) -> None:
        """Take the time steps of a model.

        Args:
            time_steps: Of its backbone.

        Raises:
            UserError: If this transform was told another number.
        """
        if self.time_steps not in (None, time_steps):
            raise UserError(
                f'mmspike.{type(self).__name__} has time_steps={self.time_steps}, but '
                f'model.backbone.time_steps is {time_steps}; leave time_steps out of the '
                'pipeline, then it follows the backbone.'
            )
        self.time_steps = time_steps

    def _require_time_steps(self) -> int:
        if self.time_steps is None:
            raise UserError(
                f'time_steps of mmspike.{type(self).__name__} was never set: the tools of mmspike '
                'take it from model.backbone.time_steps; with others, write it into the pipeline.'
            )
        return self.time_steps

    @staticmethod
    def _store(results: dict, stack: np.ndarray, num_frames: int) -> dict:
        results['img'] = stack
        results['num_frames'] = num_frames
        results['img_shape'] = results['ori_shape'] = stack.shape[:2]
        return results


def follow_backbone(transforms: Iterable[object], model: nn.Module) -> None:
    """Hand a model's time steps to the transforms that make its frames.

    Args:
        transforms: Of the pipeline of a dataset.
        model: The model, with a backbone.

    Raises:
        UserError: If a transform was told another number, or the data preprocessor would take the
            time steps for colours.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    time_steps = getattr(getattr(model, 'backbone', None), 'time_steps', None)
    for transform in transforms:
        if not isinstance(transform, FrameMaker):
            continue
        if time_steps is not None:
            transform.follow(time_steps)
        # Both look at axis 0 of what they think is [C, H, W]; they would reverse the time of 3
        # frames, and pad the channels.
        wrong = getattr(preprocessor, 'to_rgb', False), getattr(preprocessor, 'pad_size_divisor', 1)
        if wrong[0] or wrong[1] > 1:
            raise UserError(
                f'model.data_preprocessor has to_rgb={wrong[0]} and pad_size_divisor={wrong[1]}, '
                'but with sequences of frames it must be False and 1; set them so, and order the '
                'colours of pictures with to_rgb of mmspike.LoadFrames.'
            )


@TRANSFORMS.register_module()
class BinEvents(FrameMaker):
    """Count events into T frames of two channels: where it became darker, and where brighter.

    Args:
        time_steps: As of `FrameMaker`.
        by: ``'count'`` puts as many events into every frame (give or take one), ``'time'`` gives
            every frame as much of the time from the first event to the last, which is in frame
            T - 1.

    Raises:
        UserError: If an argument is not as said above.
    """

    def __init__(self, time_steps: int | None = None, by: str = 'count') -> None:
        super().__init__(time_steps)
        if by not in ('count', 'time'):
            raise UserError(f"by of mmspike.BinEvents is {by!r}, but it must be 'count' or 'time'.")
        self.by = by

    def transform(self, results: dict) -> dict:
        """Bin ``results['events']`` into ``results['img']``.

        Args:
            results: With the keys of `LoadEvents`.

        Shape:
            - ``img``: ``[H, W, T*2]``, float32

        Raises:
            UserError: If there are fewer events than frames to be filled by count, or too few
                different time stamps for frames by time.
        """
        steps, events = self._require_time_steps(), results['events']
        if self.by == 'count' and len(events) < steps:
            raise UserError(
                f"'{results['img_path']}' holds {len(events)} events, fewer than the {steps} "
                'frames of time_steps; take the sample out of the dataset, lower '
                "model.backbone.time_steps, or set by='time' in mmspike.BinEvents."
            )
        width, height = results['sensor_size']
        stamps = len(np.unique(events[:, 0])) if self.by == 'time' else steps
        if 2 * stamps <= min(steps, len(events)):
            raise UserError(
                f"The {len(events)} events of '{results['img_path']}' have {stamps} different time "
                f'stamps for {steps} frames (such as {events[0, 0]:.17g}); store them as float64 '
                "or integers, or set by='count' in mmspike.BinEvents."
            )
        frame = self._frames_of(events[:, 0], steps)
        x, y, polarity = events[:, 1:].astype(np.int64).T
        place = ((y * width + x) * steps + frame) * 2 + polarity
        counts = np.bincount(place, minlength=height * width * steps * 2)
        stack = counts.reshape(height, width, steps * 2).astype(np.float32)
        return self._store(results, stack, steps)

    def _frames_of(self, time: np.ndarray, steps: int) -> np.ndarray:
        """Give the frame of each event."""
        if self.by == 'count':
            return np.arange(len(time)) * steps // len(time)
        span = (time[-1] - time[0]) or 1
        return np.minimum((time - time[0]) * steps // span, steps - 1).astype(np.int64)


@TRANSFORMS.register_module()
class LoadFrames(FrameMaker):
    """Load T frames, evenly chosen from the pictures of a folder in the order of their numbers.

    Frame t is the middle one of the t-th of T equal parts.

    Args:
        time_steps: As of `FrameMaker`.
        color_type: ``'color'`` loads three channels, ``'grayscale'`` one.
        to_rgb: Turn the colours of OpenCV (BGR) round.
    """

    def __init__(
        self, time_steps: int | None = None, color_type: str = 'color', to_rgb: bool = False
    ) -> None:
        super().__init__(time_steps)
        self.to_rgb = to_rgb
        self._loader = LoadImageFromFile(color_type=color_type)

    def transform(self, results: dict) -> dict:
        """Load T frames of the folder ``results['img_path']`` into ``results['img']``.

        Args:
            results: With ``img_path``.

        Shape:
            - ``img``: ``[H, W, T*C]``, uint8

        Raises:
            UserError: If there are fewer than T frames, one of them is broken, or their sizes
                differ.
        """
        steps, paths = self._require_time_steps(), list_frames(results['img_path'])
        if len(paths) < steps:
            raise UserError(
                f"'{results['img_path']}' holds {len(paths)} frames, fewer than the {steps} of "
                'time_steps; take the sample out of the dataset or lower '
                'model.backbone.time_steps.'
            )
        chosen = [paths[(2 * step + 1) * len(paths) // (2 * steps)] for step in range(steps)]
        frames = [self._load(path) for path in chosen]
        for path, frame in zip(chosen, frames, strict=True):
            if frame.shape != frames[0].shape:
                own, first = (f'{f.shape[1]}x{f.shape[0]}' for f in (frame, frames[0]))
                raise UserError(
                    f"Frame '{path}' is {own} pixels, but '{chosen[0]}' is {first}; give all "
                    'frames of a sample the same size.'
                )
        return self._store(results, np.concatenate(frames, axis=2), steps)

    def _load(self, path: str) -> np.ndarray:
        results: Any = self._loader.transform(dict(img_path=path))
        frame = np.atleast_3d(results['img'])
        return frame[..., ::-1] if self.to_rgb else frame


def list_frames(folder: str) -> list[str]:
    """List the pictures of a folder, 2.png before 10.png.

    Args:
        folder: Where they lie.

    Raises:
        UserError: If the folder is not there or holds no picture.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise UserError(
            f"Frame folder '{folder}' cannot be opened ({error.strerror}); restore it or take the "
            'sample out of the dataset.'
        ) from error
    names = [name for name in names if name.lower().endswith(IMAGES)]
    if not names:
        raise UserError(
            f"Frame folder '{folder}' holds no frame ({', '.join(IMAGES)}); put the "
            'frames there or take the sample out of the dataset.'
        )
    names.sort(key=lambda name: [int(s) if s.isdecimal() else s for s in re.split(r'(\d+)', name)])
    return [os.path.join(folder, name) for name in names]


@TRANSFORMS.register_module()
class FramesToTensor(BaseTransform):
    """Take a stack of frames apart, for mmpretrain's `PackInputs`: a batch is a true sequence."""

    def transform(self, results: dict) -> dict:
        """Exchange the stack ``results['img']`` for a tensor of its frames.

        Args:
            results: With ``num_frames``, as what makes a stack leaves it.

        Shape:
            - ``img``: ``[H, W, T*C]`` in, ``[T, C, H, W]`` out
        """
        stack = results['img']
        frames = stack.reshape(*stack.shape[:2], results['num_frames'], -1)
        frames = np.ascontiguousarray(frames.transpose(2, 3, 0, 1))
        results['img'] = torch.from_numpy(frames)
        return results
