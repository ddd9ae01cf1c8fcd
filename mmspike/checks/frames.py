"""Test pipelines: picture, truth and prediction must stay in one frame."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process

from mmspike.errors import UserError
from mmspike.registry import TRANSFORMS

LIBRARIES = {'mmdet', 'mmseg'}
DRAWS = 8  # Random steps are tried so often, those with a probability always at 1.
SEARCHED = 100  # Pictures among which one with an object is looked for.
# Where a mark lies in the picture: left, top, right, low. Mirrored or turned it is elsewhere.
MARK = np.array([0.15, 0.1, 0.55, 0.4])
OFF, SHARE_OFF = 2, 0.02  # Of a mark that is where it should be: pixels, and a share of the side.
MOVES = (
    'moves the picture, and {} does not move predictions back; take it out, as flips and scales at '
    'test are for --tta'
)
CHANGES = (
    'changes the truth, but predictions are scored in the picture as it is loaded; put '
    'LoadAnnotations behind it'
)


def check_frames(datasets: Iterable[Any], split: str, metrics: Sequence[Any]) -> None:
    """Send a mark through the test pipelines of mmdet and mmseg, and look where it comes out.

    mmdet maps predictions back by ``scale_factor`` (and ``border``) alone; mmseg flips label maps
    back and stretches them to the size of the picture. Views that a model for test-time
    augmentation merges are left to it.

    Args:
        datasets: The built datasets of the split, unwrapped.
        split: ``val`` or ``test``.
        metrics: Of its evaluator.

    Raises:
        UserError: If a step moves the picture otherwise, or the truth that a metric reads.
    """
    # Those of COCO's kind read the file, or the annotations as they stand there.
    reads_truth = any(not hasattr(metric, '_coco_api') for metric in metrics)
    for dataset in datasets if is_main_process() else ():
        libraries = {kind.__module__.partition('.')[0] for kind in type(dataset).__mro__}
        library = next(iter(libraries & LIBRARIES), '')
        steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
        if not library or not steps or not len(dataset):
            continue
        _check(steps, _picture_of(dataset), split, library, reads_truth)


def check_pipeline(steps: Iterable[Mapping], library: str) -> None:
    """Send a mark through a test pipeline of which no truth is read; see `check_frames`.

    Args:
        steps: Configs of its steps behind the loader.
        library: Whose steps they are.

    Raises:
        UserError: If a step moves the picture otherwise than the library's models undo.
    """
    if library in LIBRARIES:
        image = np.zeros((240, 320, 3), np.uint8)
        info = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], img_path='')
        _check([TRANSFORMS.build(step) for step in steps], info, 'test', library, False)


def _check(steps: Sequence, info: dict, split: str, library: str, reads_truth: bool) -> None:
    with _own_randomness():
        try:
            found = _first_that_moves(steps, info, library, reads_truth)
        except Exception:  # Whatever a step does not take, it says when it runs.
            return
    if found:
        raise UserError(
            f'{found[0]} in the pipeline of {split}_dataloader {found[1].format(library)}.'
        )


def _picture_of(dataset: Any) -> dict:
    """Give what a dataset tells of a picture with an object, or else of the first."""
    for index in range(min(len(dataset), SEARCHED)):
        info = dataset.get_data_info(index)
        if info.get('instances'):
            return info
    return dataset.get_data_info(0)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Draw the same random numbers each time, and leave those of the run as they are."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _first_that_moves(
    steps: Sequence[Any], info: dict, library: str, reads_truth: bool
) -> tuple[str, str] | None:
    """Name the first step that moves picture or truth, and say which; None if there is none."""
    steps = [_surely(step) for step in steps]
    loaders = 0
    while not isinstance(info.get('img'), np.ndarray):
        info = steps[loaders](info)
        loaders += 1
    height, width = info['img'].shape[:2]
    frame = _Frame(height, width, library, reads_truth)
    info['img'] = frame.mark(info['img'])
    for _ in range(DRAWS):
        results = deepcopy(info)
        frame.truth = None
        for step in steps[loaders:]:
            # Each view of a picture tells the model that merges them how it was flipped.
            if type(step).__name__ == 'TestTimeAug':
                break
            results = step(results)
            if results is None:  # As of a crop without an object.
                break
            if not isinstance(results.get('img'), np.ndarray) or 'img2' in results:
                break
            if not frame.holds(results):
                return type(step).__name__, MOVES
            if not frame.holds_truth(results):
                return type(step).__name__, CHANGES
    return None


def _surely(step: Any) -> Any:
    """Give a step that does surely what it does sometimes."""
    if isinstance(getattr(step, 'prob', None), float) and 0 < step.prob < 1:
        step = copy(step)
        step.prob = 1.0
    return step


class _Frame:
    """Where a mark in a picture must be found again.

    Args:
        height: Of the picture.
        width: Of the picture.
        library: Whose model gets the picture.
        reads_truth: Whether the metric reads the truth of the pipeline.
    """

    def __init__(self, height: int, width: int, library: str, reads_truth: bool) -> None:
        self.size = np.array([width, height])
        self.library, self.reads_truth = library, reads_truth
        self.place = np.rint(MARK * np.tile(self.size, 2)).astype(int)
        self.truth: np.ndarray | None = None

    def mark(self, image: np.ndarray) -> np.ndarray:
        """Give a black picture with a white mark, in the form of another."""
        left, top, right, low = self.place
        marked = np.zeros_like(image)
        marked[top:low, left:right] = 255
        return marked

    def holds(self, results: dict) -> bool:
        """Tell whether a model's predictions for the picture would be mapped back to the mark."""
        image = results['img']
        gray = image.mean(2) if image.ndim == 3 else image
        if self.library == 'mmseg':
            left, right, top, low = results.get('padding_size', [0] * 4)
            gray = gray[top : gray.shape[0] - low, left : gray.shape[1] - right]
            if results.get('flip'):
                gray = np.flip(gray, 1 if results['flip_direction'] == 'horizontal' else 0)
            scale = np.array(gray.shape[::-1]) / self.size
        else:
            scale = np.broadcast_to(results.get('scale_factor', 1.0), 2)
            border = results.get('border', [0] * 4)
            x, y = int(border[2]), int(border[0])
            width, height = np.rint(self.size * scale).astype(int)
            gray = gray[y : y + height, x : x + width]
        expected = self.place * np.tile(scale, 2)
        found = _bright(gray)
        off = OFF + SHARE_OFF * max(gray.shape)
        return found is not None and bool((np.abs(found - expected) <= off).all())

    def holds_truth(self, results: dict) -> bool:
        """Tell whether the truth is as it was loaded, where a metric reads it."""
        key = 'gt_seg_map' if self.library == 'mmseg' else 'gt_bboxes'
        if not self.reads_truth or results.get(key) is None:
            return True
        if self.truth is None:
            if self.library == 'mmseg':
                results[key] = self.mark(results[key]) // 255
            self.truth = np.array(_numbers(results[key]))
            return True
        truth = _numbers(results[key])
        return truth.shape == self.truth.shape and bool(np.allclose(truth, self.truth, atol=1e-3))


def _numbers(truth: Any) -> np.ndarray:
    return np.asarray(getattr(truth, 'tensor', truth))


def _bright(gray: np.ndarray) -> np.ndarray | None:
    """Find the box around the bright pixels of a picture, if it has any."""
    if not gray.size or gray.max() <= gray.min():
        return None
    y, x = np.nonzero(gray > gray.min() + 0.6 * (gray.max() - gray.min()))
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
