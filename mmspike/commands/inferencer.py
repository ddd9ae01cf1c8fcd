"""Pictures and a JSON from images, folders and videos, for detectors, segmentors, classifiers."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image
from rich.progress import track
from torch import Tensor

from mmspike.commands.drawing import Painter
from mmspike.commands.media import (
    Input,
    Video,
    VideoWriter,
    as_array,
    find_images,
    is_video,
    make_folder,
)
from mmspike.datasets.transforms import to_file_ids
from mmspike.errors import UserError
from mmspike.hosts.inferencers import HostModel
from mmspike.hosts.outputs import output_names

TASKS = dict(mmdet='detection', mmseg='segmentation', mmpretrain='classification')
NUM_BEST = 5


def check_score(threshold: float) -> None:
    """Demand that a threshold is one for scores.

    Args:
        threshold: The least score of an object.

    Raises:
        UserError: If it is not from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise UserError(
            f'the score threshold is {threshold:g}, but scores go from 0 to 1; give a threshold in '
            'between, such as 0.3 for 30 %.'
        )


class Inferencer:
    """Show what a model of mmdet, mmseg or mmpretrain finds.

    Args:
        model: A config file, or a config that is loaded already; its ``default_scope`` tells the
            library.
        weights: A checkpoint file.
        device: Where to run, such as ``'cpu'`` or ``'cuda:0'``; None takes a GPU if there is one.
        cfg_options: Settings of the config to override.

    Raises:
        UserError: If one of them cannot be used.
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path,
        device: str | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        self.host = HostModel(model, weights, device, cfg_options)
        self.task = TASKS[self.host.library.name]
        self.classes = list(self.host.meta.get('classes') or [])
        palette = self.host.meta.get('palette')
        if isinstance(palette, str):  # mmdet has names for palettes, such as random.
            palette = None
        self._palette = palette if len(palette or []) >= len(self.classes) else None

    def __call__(
        self,
        inputs: Input | Sequence[Input],
        out_dir: str | Path | None = None,
        pred_score_thr: float = 0.3,
        return_vis: bool = False,
        show_progress: bool = True,
    ) -> dict:
        """Run on pictures, and write and return what was found.

        An image that cannot be used does not keep the others from being done.

        Args:
            inputs: An image, a folder (the images directly in it, sorted by name), a video, a
                Pillow image, an array in BGR, or a list of images and arrays.
            out_dir: Where to write ``pictures/``, ``label_maps/`` and ``predictions.json``; None
                writes nothing.
            pred_score_thr: Objects below this score are left out, of pictures and predictions.
            return_vis: Return the pictures as well, in RGB.
            show_progress: Show a progress bar.

        Returns:
            ``predictions``, an entry for each image or frame; ``failed``, the images that could not
            be used, by file or place in the list, or a video of which frames are missing; and
            ``visualization``, the pictures, if `return_vis` is set.

        Raises:
            UserError: If there is no input, the only one cannot be used, or the threshold is no
                score.
        """
        check_score(pred_score_thr)
        run = _Run(self, Path(out_dir) if out_dir else None, pred_score_thr, return_vis)
        if isinstance(inputs, (str, Path)) and is_video(inputs):
            run.video(Video(inputs), show_progress)
        else:
            run.images(_as_list(inputs), show_progress)
        result = dict(predictions=run.predictions, failed=run.failed)
        if out_dir:
            about: dict[str, Any] = dict(task=self.task, classes=self.classes)
            if self.task == 'detection':
                about['score_threshold'] = pred_score_thr
            text = json.dumps({**about, **result}, indent=1)
            Path(out_dir, 'predictions.json').write_text(text)
        return {**result, 'visualization': run.pictures} if return_vis else result

    def infer_one(self, image: np.ndarray, threshold: float) -> tuple[dict, Callable]:
        """Run on one image.

        Args:
            image: The image in BGR, ``[H, W, 3]``.
            threshold: The least score of an object.

        Returns:
            The prediction, and a function that draws it on a picture. A segmentation holds its
            ``label_map`` as an array.
        """
        sample = self.host.predict(image)
        height, width = image.shape[:2]
        if self.task == 'detection':
            found = sample.pred_instances
            sample.pred_instances = found[found.scores >= threshold].numpy()
        result, draw = getattr(self, f'_{self.task}')(sample)
        return dict(width=width, height=height, **result), draw

    def _detection(self, sample: Any) -> tuple[dict, Callable]:
        from pycocotools import mask as coco_mask  # Comes with mmdet.

        found = sample.pred_instances
        masks = found.get('masks')
        painter = self._painter(found.labels)
        instances = []
        for i, (label, score) in enumerate(zip(found.labels.tolist(), found.scores, strict=True)):
            instance = dict(label=label, **{'class': painter.classes[label]}, score=float(score))
            instance['bbox'] = found.bboxes[i].tolist()
            if masks is not None:
                code = coco_mask.encode(np.asfortranarray(masks[i].astype(np.uint8)))
                instance['mask'] = dict(size=code['size'], counts=code['counts'].decode())
            instances.append(instance)
        return dict(instances=instances), lambda image: painter.detections(image, found)

    def _segmentation(self, sample: Any) -> tuple[dict, Callable]:
        label_map = sample.pred_sem_seg.data[0].long().numpy()  # Floats, of one output.
        painter = self._painter(label_map)
        labels, counts = np.unique(label_map, return_counts=True)
        ids = to_file_ids(labels, self.host.label_info)
        classes = [
            {'label': label, 'id': i, 'class': painter.classes[label], 'share': n / label_map.size}
            for label, i, n in zip(labels.tolist(), ids.tolist(), counts.tolist(), strict=True)
        ]
        result = dict(classes=classes, label_map=to_file_ids(label_map, self.host.label_info))
        return result, lambda image: painter.segmentation(image, label_map)

    def _classification(self, sample: Any) -> tuple[dict, Callable]:
        scores = sample.pred_score
        order = scores.argsort(descending=True)[:NUM_BEST]
        painter = self._painter(np.arange(len(scores)))
        best = [(int(label), float(scores[label])) for label in order]
        entries = [
            {'label': label, 'class': painter.classes[label], 'score': score}
            for label, score in best
        ]
        result = dict(**entries[0], best=entries)
        return result, lambda image: painter.classification(image, best)

    def _painter(self, labels: np.ndarray) -> Painter:
        """Build a painter that has a name for every label: a number where none is known."""
        count = int(labels.max()) + 1 if labels.size else 0
        names = [*self.classes, *(f'class {i}' for i in range(len(self.classes), count))]
        palette = self._palette if len(names) == len(self.classes) else None
        return Painter(names, palette)


class _Run:
    """One call of an inferencer: where its files go and what it has found so far."""

    def __init__(
        self, inferencer: Inferencer, out_dir: Path | None, threshold: float, keep: bool
    ) -> None:
        self.inferencer = inferencer
        self.out_dir = out_dir
        self.threshold = threshold
        self.keep = keep
        self.predictions: list[dict] = []
        self.failed: list[dict] = []
        self.pictures: list[np.ndarray] = []

    def images(self, inputs: Sequence[Path | np.ndarray], show_progress: bool) -> None:
        names = output_names([i if isinstance(i, Path) else None for i in inputs])
        self._check_apart(inputs)
        folder = self._folder('pictures')
        numbered = enumerate(_progress(inputs, show_progress))
        for (number, item), name in zip(numbered, names, strict=True):
            try:
                path = isinstance(item, Path)
                image = self.inferencer.host.read(item) if path else as_array(item)
                found = self.inferencer.infer_one(image, self.threshold)
            except UserError as error:
                if len(inputs) == 1:
                    raise
                broken = str(item if isinstance(item, Path) else number)
                self.failed.append(dict(file=broken, reason=error.sentence))
                continue
            entry = dict(file=str(item)) if isinstance(item, Path) else {}
            picture = self._note(image, found, entry, name)
            if folder and picture is not None:
                file = folder / f'{name}.png'
                _write(file, picture[..., ::-1])
                entry['picture'] = str(file.relative_to(folder.parent))

    def video(self, video: Video, show_progress: bool) -> None:
        self._check_apart([video.path])
        folder = self._folder('pictures')
        writer = folder and VideoWriter(folder / f'{video.path.stem}.mp4', video.fps)
        try:
            frames = _progress(video, show_progress, video.num_frames)
            for number, frame in enumerate(frames):
                entry = dict(file=str(video.path), frame=number, time=number / video.fps)
                found = self.inferencer.infer_one(frame, self.threshold)
                picture = self._note(frame, found, entry, f'{video.path.stem}_{number:06d}')
                if writer and picture is not None:
                    writer.write(picture)
                    entry['video'] = f'pictures/{writer.path.name}'
            if missing := video.missing(len(self.predictions)):
                self.failed.append(dict(file=str(video.path), reason=missing))
        finally:
            if writer:
                writer.close()

    def _note(
        self, image: np.ndarray, found: tuple[dict, Callable], entry: dict, name: str
    ) -> np.ndarray | None:
        """Complete the entry of an image, and return its picture if anybody wants it."""
        result, draw = found
        entry.update(result)
        self.predictions.append(entry)
        folder = self._folder('label_maps') if 'label_map' in entry else None
        if folder:
            file = folder / f'{name}.png'
            _write(file, entry['label_map'])
            entry['label_map'] = str(file.relative_to(folder.parent))
        if not (self.out_dir or self.keep):
            return None
        picture = draw(_to_rgb(image))
        if self.keep:
            self.pictures.append(picture)
        return picture

    def _check_apart(self, inputs: Sequence[Path | np.ndarray]) -> None:
        """Demand that no output is written where inputs lie: it could replace one of them."""
        folders = {folder for i in inputs if isinstance(i, Path) for folder in i.resolve().parents}
        if self.out_dir is None:
            return
        for name in ('pictures', 'label_maps'):
            folder = self.out_dir.resolve() / name
            if folder in folders:
                raise UserError(
                    f"'{folder}' is where {name.replace('_', ' ')} would be written, and the input "
                    'lies there too; choose another --out-dir.'
                )

    def _folder(self, name: str) -> Path | None:
        if self.out_dir is None:
            return None
        return make_folder(self.out_dir.resolve() / name)


def _as_list(inputs: Any) -> list[Any]:
    if isinstance(inputs, (str, Path)):
        return [*find_images(inputs)]
    single = (np.ndarray, Image.Image, Tensor, bytes, Mapping)
    if isinstance(inputs, single) or not isinstance(inputs, Iterable):
        inputs = [inputs]
    return [Path(i).expanduser() if isinstance(i, (str, Path)) else i for i in inputs]


def _progress(items: Iterable, show: bool, total: int | None = None) -> Iterable:
    return track(items, 'Inference', total=total) if show else items


def _to_rgb(image: np.ndarray) -> np.ndarray:
    image = np.clip(image, 0, 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[..., 2::-1])


def _write(file: Path, picture: np.ndarray) -> None:
    make_folder(file.parent)
    if not cv2.imwrite(str(file), picture):
        raise UserError(f"'{file}' cannot be written; is the disk full, or the folder read-only?")
