"""Pictures of what a model found, each with a legend at its right."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHORT_SIDE, LONG_SIDE = 480, 1600  # Small pictures are enlarged so far, for tags to leave room.
ALL_CLASSES = 20  # A legend lists all classes up to this number, else those in the picture.
MIN_ROWS = 8
MAX_LETTERS = 24
TAG_LIMIT = 40  # With more objects than this, tags would hide the picture.
INK, FAINT, PAPER = (20, 20, 20), (150, 150, 150), (255, 255, 255)

Color = tuple[int, int, int]
Row = tuple[Color, str, str, Color]  # The swatch, the name, the number behind it, and their ink.


class Painter:
    """Draw predictions over pictures.

    Args:
        classes: The names of the classes.
        palette: Their colours in RGB; None takes hues that lie apart.
    """

    def __init__(self, classes: Sequence[str], palette: Sequence[Color] | None = None) -> None:
        self.classes = list(classes)
        self.palette = [(r, g, b) for r, g, b in palette or default_palette(len(classes))]

    def detections(self, image: np.ndarray, found: dict) -> np.ndarray:
        """Draw masks, boxes and tags.

        Args:
            image: The picture in RGB, ``[H, W, 3]``.
            found: ``labels`` ``[N]``, ``scores`` ``[N]``, ``bboxes`` ``[N, 4]`` and, if the model
                finds any, ``masks`` ``[N, H, W]``.
        """
        picture, factor = enlarge(image)
        labels, order = found['labels'], np.argsort(-found['scores'], kind='stable')
        for i in order[::-1]:  # The surest on top.
            if found.get('masks') is not None:
                _paint_mask(picture, found['masks'][i], self.palette[labels[i]])
        thickness = max(1, _unit(picture) // 9)
        boxes = np.rint(found['bboxes'] * factor).astype(int)
        for i in order[::-1]:
            corners = boxes[i, :2].tolist(), boxes[i, 2:].tolist()
            cv2.rectangle(picture, *corners, self.palette[labels[i]], thickness, cv2.LINE_AA)
        if len(labels) <= TAG_LIMIT:
            tags = [f'{self.classes[labels[i]]} {found["scores"][i]:.2f}' for i in order]
            picture = _paint_tags(picture, boxes[order], tags)
        counts = np.bincount(labels, minlength=len(self.classes))
        title = f'{len(labels)} object{"s" * (len(labels) != 1)}'
        return self._with_legend(picture, title, counts, [str(count) for count in counts])

    def segmentation(self, image: np.ndarray, label_map: np.ndarray) -> np.ndarray:
        """Lay the classes' colours over a picture.

        Args:
            image: The picture in RGB, ``[H, W, 3]``.
            label_map: A class for each pixel, ``[H, W]``; other numbers leave the pixel as it is.
        """
        picture, _ = enlarge(image)
        size = picture.shape[1::-1]
        labels = cv2.resize(label_map.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
        known = (labels >= 0) & (labels < len(self.classes))
        colors = np.array(self.palette, np.uint8)[np.where(known, labels, 0)]
        picture[known] = (0.4 * picture[known] + 0.6 * colors[known]).astype(np.uint8)
        counts = np.bincount(labels[known], minlength=len(self.classes))
        values = [f'{100 * count / labels.size:.1f} %' for count in counts]
        return self._with_legend(picture, 'share of pixels', counts, values)

    def classification(self, image: np.ndarray, best: Sequence[tuple[int, float]]) -> np.ndarray:
        """Write the best classes and their scores beside a picture.

        Args:
            image: The picture in RGB, ``[H, W, 3]``.
            best: Labels and scores, the best first.
        """
        picture, _ = enlarge(image)
        rows = [
            (self.palette[label], self.classes[label], f'{score:.2f}', FAINT if i else INK)
            for i, (label, score) in enumerate(best)
        ]
        return self._with_rows(picture, 'score', rows)

    def _with_legend(
        self, picture: np.ndarray, title: str, counts: np.ndarray, values: Sequence[str]
    ) -> np.ndarray:
        """Add a legend; a class that is not in the picture is faint, or left out if many are."""
        shown = list(range(len(self.classes)))
        if len(self.classes) > ALL_CLASSES:
            shown = [i for i in np.argsort(-counts, kind='stable') if counts[i]]
        rows = [
            (self.palette[i], self.classes[i], values[i], INK if counts[i] else FAINT)
            for i in shown
        ]
        return self._with_rows(picture, title, rows)

    def _with_rows(self, picture: np.ndarray, title: str, rows: Sequence[Row]) -> np.ndarray:
        # Width and height depend on the picture's size alone: the frames of a video stay alike.
        unit = _unit(picture)
        font = _font(unit)
        line = round(1.6 * unit)
        names = max((font.getlength(_shorten(name)) for name in self.classes), default=0)
        width = round(5 * unit + max(names, 5 * unit) + font.getlength('100.0 %'))
        height = max(len(picture), (MIN_ROWS + 2) * line)
        sheet = Image.new('RGB', (picture.shape[1] + width, height), PAPER)
        sheet.paste(Image.fromarray(picture), (0, 0))
        draw = ImageDraw.Draw(sheet)
        left, right = picture.shape[1] + unit, picture.shape[1] + width - unit
        draw.text((left, line), title, INK, font, anchor='lm')
        room = height // line - 2
        if len(rows) > room:
            more = (PAPER, f'and {len(rows) - room + 1} more', '', FAINT)
            rows = [*rows[: room - 1], more]
        for i, (color, name, value, ink) in enumerate(rows):
            y = (i + 2) * line
            edge = PAPER if color == PAPER and not value else FAINT
            square = (left, y - unit // 2, left + unit, y + unit // 2)
            draw.rectangle(square, fill=color, outline=edge)
            draw.text((left + 2 * unit, y), _shorten(name), ink, font, anchor='lm')
            draw.text((right, y), value, ink, font, anchor='rm')
        return np.asarray(sheet)


def default_palette(count: int) -> list[Color]:
    """Choose `count` colours whose hues lie apart."""
    # Steps of the golden ratio never come close to an earlier hue.
    hues = [(0.97 + 0.618034 * i) % 1 for i in range(count)]
    colors = (colorsys.hsv_to_rgb(hue, 0.8, 0.85) for hue in hues)
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def enlarge(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Copy a picture, enlarged if it is small, and return how many times larger it is."""
    height, width = image.shape[:2]
    factor = min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width))
    if factor <= 1:
        return image.copy(), 1.0
    size = round(width * factor), round(height * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), factor


def _unit(picture: np.ndarray) -> int:
    """The size of letters that suits a picture."""
    return max(14, min(picture.shape[:2]) // 40)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(str(path), size)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_LETTERS else name[: MAX_LETTERS - 1] + '…'


def _paint_mask(picture: np.ndarray, mask: np.ndarray, color: Color) -> None:
    mask = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    inside = mask.astype(bool)
    picture[inside] = (0.55 * picture[inside] + 0.45 * np.array(color)).astype(np.uint8)
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, PAPER, 1, cv2.LINE_AA)


def _paint_tags(picture: np.ndarray, boxes: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """Write each tag at its box, where no tag stands yet; without room it is left out."""
    font = _font(max(11, round(0.8 * _unit(picture))))
    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    taken: list[tuple[float, float, float, float]] = []
    for (x1, y1, x2, y2), tag in zip(boxes.tolist(), tags, strict=True):
        width, height = font.getlength(tag) + 6, round(1.4 * font.size)
        for x, y in ((x1, y1 - height), (x1, y2), (x2 - width, y1 - height), (x1, y1), (x2, y1)):
            x = min(max(x, 0), sheet.width - width)
            y = min(max(y, 0), sheet.height - height)
            place = (x, y, x + width, y + height)
            if not any(_overlap(place, other) for other in taken):
                taken.append(place)
                draw.rectangle(place, fill=INK)
                draw.text((x + 3, y + height / 2), tag, PAPER, font, anchor='lm')
                break
    return np.asarray(sheet).copy()


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
