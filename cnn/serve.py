"""`python -m cnn.serve run=FOLDER`: the page of a network, and predictions as JSON, for this machine alone."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cnn.assembly import groups, ops_of, require_int
from cnn.exporting.network import Portable
from cnn.exporting.opening import open_network
from cnn.exporting.page_file import page_text
from cnn.exporting.parity import softmax
from cnn.page_extras import detector_for, drawn_faces
from data_tools.reading.images import ImageError, decode, fit
from foundation.entry import entry
from foundation.errors import UserError
from foundation.schema import UNSET

ADDRESS = "127.0.0.1"  # this machine alone; no option changes it
LARGEST = 16 << 20  # bytes of an image
MOST_PIXELS = 16_000_000  # of an image
_SLOWEST = 10.0  # seconds for the next bytes of a request
_AT_ONCE = 16  # requests


@dataclass
class ServeSettings:
    """The options outside the groups."""

    run: str = UNSET
    port: int = 8000
    faces: str = "auto"


@entry("serve", groups("backend", top=ServeSettings))
def main(config: DictConfig) -> None:
    """Serve until the command is interrupted."""
    if (port := require_int(config, "port", 0)) > 65535:
        raise UserError(f"port must be at most 65535, not {port}")
    network = open_network(Path(config.run), ops_of(config))
    with start(network, port, config.faces) as server:
        print(f"http://{ADDRESS}:{server.server_port}/ shows the network; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def start(network: Portable, port: int = 0, faces: str = "auto") -> Server:
    """A server of the network's page on a port of this machine, any free one for 0; `serve_forever` runs it.

    Raises `UserError` for a port that is taken, and for a network that does not take images.
    """
    page = page_text(network, None, drawn_faces(network.classes), detector_for(network, faces))
    try:
        return Server(network, page, port)
    except OSError as error:
        raise UserError(f"port={port}: {error.strerror or error}; give another, or 0 for any free one") from error


class Server(ThreadingHTTPServer):
    """Serves the page at / and predictions at /predict, with one prediction at a time."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows another program could take the port, too
    request_queue_size = _AT_ONCE

    def __init__(self, network: Portable, page: str, port: int) -> None:
        self.network, self.page = network, page.encode()
        self.computing = threading.Lock()
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def hosts(self) -> set[str]:
        """What a request may call this server: a page whose name was bound to this address calls it otherwise."""
        return {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for the request; close it if too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves or is slow is no error of ours."""

    def predict(self, content: bytes) -> dict[str, Any]:
        """The probabilities for an encoded image. Raises `ImageError`."""
        height, width, channels = self.network.shape
        pixels = fit(decode(content, most=MOST_PIXELS), (height, width), channels)
        with self.computing:
            probabilities = softmax(self.network.logits(pixels[None]))[0]
        return {
            "prediction": self.network.classes[int(np.argmax(probabilities))],
            "probabilities": {name: float(p) for name, p in zip(self.network.classes, probabilities, strict=True)},
        }


class _Handler(BaseHTTPRequestHandler):
    """One request, and then the connection is closed."""

    server: Server
    server_version, sys_version = "cnn", ""
    timeout = _SLOWEST  # of the socket

    def do_GET(self) -> None:
        """The page, or what the network takes and gives."""
        if not self._allowed():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif self.path == "/model":
            network = self.server.network
            self._json(
                HTTPStatus.OK,
                {"name": network.name, "classes": list(network.classes), "image_shape": list(network.shape)},
            )
        elif self.path == "/predict":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "send an image with POST")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there are /, /model and /predict")

    def do_POST(self) -> None:
        """Probabilities for the image that is the request's body."""
        if not self._allowed():
            return
        if self.path != "/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "POST is for /predict")
            return
        if (length := self._length()) is None:
            return
        content = self.rfile.read(length)
        if len(content) < length:
            self._refuse(HTTPStatus.BAD_REQUEST, f"the body ended after {len(content)} of {length} bytes")
            return
        try:
            self._json(HTTPStatus.OK, self.server.predict(content))
        except ImageError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    def _allowed(self) -> bool:
        """Whether the request is meant for this server and comes from its own page or from no page."""
        host, origin = self.headers.get_all("Host") or [], self.headers.get("Origin")
        if len(host) != 1 or host[0].lower() not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this server is {ADDRESS}:{self.server.server_port}")
            return False
        if origin is not None and origin.lower() not in {f"http://{name}" for name in self.server.hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "other pages may not ask this server")
            return False
        return True

    def _length(self) -> int | None:
        """The size of the body, if it has one that is allowed; else None, and the answer is sent."""
        given = self.headers.get_all("Content-Length") or []
        if len(given) != 1 or self.headers.get("Transfer-Encoding") is not None:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "give one Content-Length, and the image as the body")
        elif not (given[0].isascii() and given[0].isdigit()) or len(given[0]) > 15 or int(given[0]) < 1:
            self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length is no number of bytes")
        elif int(given[0]) > LARGEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an image has at most {LARGEST >> 20} MiB")
        else:
            return int(given[0])
        return None

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._json(status, {"error": reason})

    def _json(self, status: HTTPStatus, content: Any) -> None:
        self._send(status, json.dumps(content).encode() + b"\n", "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.close_connection = True
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A malformed request, as JSON; nothing of it is repeated in the answer."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.request_version = "HTTP/1.1"  # of an answer with headers, whatever was asked
        self._json(HTTPStatus(code), {"error": HTTPStatus(code).phrase.lower()})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they are about images of people."""

    def finish(self) -> None:
        """End the connection; a client may have left."""
        try:
            super().finish()
        except (TimeoutError, ConnectionError):
            return


if __name__ == "__main__":
    main()
