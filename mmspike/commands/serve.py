"""Try a trained model in a browser: a picture in, what it finds and where it fires out."""

import time
from collections.abc import Sequence
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.energy_report import collect_figures
from mmspike.commands.console_log import quiet_console
from mmspike.commands.inferencer import Inferencer, check_score
from mmspike.commands.media import as_array
from mmspike.commands.report import draw_maps
from mmspike.commands.report_page import as_picture, render
from mmspike.config import config_parser
from mmspike.errors import UserError

LARGEST = 32 * 2**20  # Bytes of a picture.


class Demonstration:
    """A model that says what it finds in a picture, and where it fires.

    Args:
        config: Its config file.
        checkpoint: Its checkpoint.
        device: Where to run; None takes a GPU if there is one.
        cfg_options: Settings of the config to override.
        threshold: Objects below this score are left out.

    Raises:
        UserError: If one of them is not usable, or the model does not spike.
    """

    def __init__(
        self, config: str, checkpoint: str, device: str | None, cfg_options: Any, threshold: float
    ) -> None:
        check_score(threshold)
        self._inferencer = Inferencer(config, checkpoint, device, cfg_options)
        self._threshold, self._lock = threshold, Lock()
        host = self._inferencer.host
        host.merge('spike')
        EnergyMeter(host.model)  # Refuses what does not spike.
        self.model = f'{type(host.model).__name__}, {Path(config).stem}, {Path(checkpoint).name}'

    def page(self, data: bytes | None = None) -> str:
        """Give the page, with what is found in a picture if there is one.

        Args:
            data: The bytes of an image file.
        """
        if data is None:
            return render('serve', dict(model=self.model))
        try:
            with self._lock, torch.no_grad():  # One picture at a time.
                return self._look(as_array(_open(data)))
        except UserError as error:
            return render('serve', dict(model=self.model, mistake=error.sentence))

    def _look(self, image: np.ndarray) -> str:
        host, start = self._inferencer.host, time.perf_counter()
        with EnergyMeter(host.model) as meter:
            _, draw = self._inferencer.infer_one(image, self._threshold)
        seconds = time.perf_counter() - start
        maps = draw_maps(host.model, lambda: host.predict(image))
        figures = dict(
            model=self.model,
            seconds=seconds,
            energy=collect_figures(meter.energy()),
            heat_maps=maps,
        )
        drawn = as_picture(draw(np.ascontiguousarray(image[..., ::-1])), '')
        return render('serve', figures, picture=drawn, uris=[m['uri'] for m in maps])


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(BytesIO(data))
        picture.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError('this file is not a picture that can be read; choose another.') from error
    return picture


def serve(argv: Sequence[str] | None = None) -> None:
    """Serve the page until it is interrupted, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        UserError: If the command, the config or the checkpoint is not usable, the model does not
            spike, or host and port cannot be had.
    """
    parser = config_parser('Try a trained spiking model in a browser')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--host', default='127.0.0.1', help='default: 127.0.0.1, this machine only')
    parser.add_argument('--port', type=int, default=7860, help='default: 7860')
    parser.add_argument('--score-thr', type=float, default=0.3, help='least score (default: 0.3)')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    args = parser.parse_args(argv)
    with quiet_console():
        shown = Demonstration(
            args.config, args.checkpoint, args.device, args.cfg_options, args.score_thr
        )
    with make_server(shown, args.host, args.port) as server:
        print(f'open http://{args.host}:{server.server_port}/ in a browser; Ctrl+C ends it')
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_server(shown: Demonstration, host: str, port: int) -> ThreadingHTTPServer:
    """Make the server of a model.

    Args:
        shown: The model.
        host: The address to listen at.
        port: Its port; 0 takes a free one.

    Raises:
        UserError: If they cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(shown.page()) if self.path == '/' else self.send_error(404)

        def do_POST(self) -> None:
            length = int(self.headers.get('Content-Length') or 0)
            if not 0 < length <= LARGEST:
                self.send_error(413, f'a picture may have {LARGEST >> 20} MiB')
                return
            head = f'Content-Type: {self.headers["Content-Type"]}\r\n\r\n'.encode()
            form = BytesParser(policy=policy.HTTP).parsebytes(head + self.rfile.read(length))
            fields = [part.get_payload(decode=True) for part in form.iter_parts()]
            self._send(shown.page(next((f for f in fields if isinstance(f, bytes)), b'')))

        def _send(self, page: str) -> None:
            self.send_response(200)
            self.send_header('Content-Type', 'text/html; charset=utf-8')
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(
            f'{host}:{port} cannot be served at ({error}); choose another --host or --port.'
        ) from error
