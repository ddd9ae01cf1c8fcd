"""The page of a report: figures and pictures put into a template, one file without a network."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmspike.analysis.spike_pictures import part_colors
from mmspike.commands.media import explain_unwritten, make_folder
from mmspike.commands.pictures import OVERVIEW
from mmspike.errors import UserError

WIDTH, QUALITY = 960, 82  # Of the pictures on the page.


def check_out(out: str | Path) -> Path:
    """Demand that a page can have this name, and make its folder.

    Raises:
        UserError: If it cannot.
    """
    out = Path(out)
    if out.suffix.lower() not in ('.html', '.htm') or out.is_dir():
        raise UserError(
            f"--out is '{out}', but a page ends with .html; name a file such as a.html."
        )
    make_folder(out.parent)
    return out


def as_picture(image: np.ndarray, name: str, least: int = 0) -> dict[str, str]:
    """Encode a picture for the page.

    Args:
        image: The picture in RGB, ``[H, W, 3]``.
        name: What to write below it.
        least: Enlarge it to at least this width, each pixel a square.

    Returns:
        Its ``name``, and a ``uri`` that holds it.
    """
    factor = -(-least // image.shape[1])
    if factor > 1:
        image = image.repeat(factor, 0).repeat(factor, 1)
    if image.shape[1] > WIDTH:
        size = WIDTH, round(image.shape[0] * WIDTH / image.shape[1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    code = cv2.imencode('.jpg', np.ascontiguousarray(image[..., ::-1]), options)[1]
    text = base64.b64encode(code.tobytes()).decode()
    return dict(name=name, uri=f'data:image/jpeg;base64,{text}')


def read_pictures(folder: Path, count: int) -> list[dict[str, str]]:
    """Read the first of the pictures that `draw_predictions` wrote into a folder."""
    files = sorted(file for file in folder.rglob('*.png') if file != folder / f'{OVERVIEW}.png')
    return [as_picture(mmcv.imread(str(f), channel_order='rgb'), f.stem) for f in files[:count]]


def write_page(figures: dict, pictures: dict, out: Path) -> Path:
    """Write the page, and the figures beside it as JSON: both whole, or neither.

    Args:
        figures: All figures on the page; each is taken from here.
        pictures: ``predictions`` (``name`` and ``uri`` of each) and ``heat_maps``.
        out: The page.

    Returns:
        The page.

    Raises:
        UserError: If they cannot be written.
    """
    texts = {
        out.with_suffix('.json'): json.dumps(figures, indent=1, allow_nan=False),
        out: render('report', figures, pictures=pictures),
    }
    drafts = {path: path.with_name(f'.{path.name}.partial') for path in texts}
    try:
        for path, text in texts.items():
            drafts[path].write_text(text, encoding='utf-8')
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError as error:
        raise UserError(
            f'{explain_unwritten(out, error)}; name another place with --out.'
        ) from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return out


def render(template: str, figures: Mapping[str, Any], **more: Any) -> str:
    """Fill in a template of the folder ``templates``.

    Args:
        template: Its name.
        figures: What its ``figure(key, ...)`` shows.
        **more: What it takes besides.
    """

    def figure(*keys: str | int) -> Markup:
        """Show a figure, with its exact value and its place in the JSON."""
        value: Any = figures
        for key in keys:
            value = value[key]
        form = '<data value="{}" data-path="{}">{}</data>'
        exact = '' if value is None else value
        return Markup(form).format(exact, json.dumps(keys), _short(value))

    environment = Environment(
        loader=PackageLoader('mmspike.commands'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['short'] = _short
    layers = figures.get('energy', {}).get('layers', [])
    groups = [layer['stage'].replace('Stage', 'stage') for layer in layers]
    page = environment.get_template(f'{template}.html.jinja')
    return page.render(figures=figures, figure=figure, colors=part_colors(groups), **more)


def _short(value: object) -> str:
    """Write a figure as people read it; one that is not there is a dash."""
    if value is None:
        return '–'
    if isinstance(value, int):
        return f'{value:,}'
    if isinstance(value, float):
        return f'{value / 1e6:,.4g} M' if abs(value) >= 1e6 else f'{value:.4g}'
    return str(value)
