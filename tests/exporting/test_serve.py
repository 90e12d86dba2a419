"""The server over HTTP: the page, predictions, and requests that it must refuse."""

from __future__ import annotations

import http.client
import io
import json
import socket
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn.exporting.parity import softmax
from cnn.serve import LARGEST, start
from exporting.networks import CLASSES, network
from foundation.errors import UserError


@pytest.fixture(scope="module")
def server():
    with start(network("mlp", (9, 7, 3))) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server, method, path, body=None, host=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Host": host or f"127.0.0.1:{server.server_port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_the_page_and_a_prediction(server):
    status, content, headers = ask(server, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Content-Security-Policy" in content
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    status, content, _ = ask(server, "POST", "/predict", png(pixels), host=f"localhost:{server.server_port}")
    assert status == 200
    found = json.loads(content)["probabilities"]
    expected = softmax(server.network.logits(pixels[None]))[0]
    assert list(found) == list(CLASSES)
    assert list(found.values()) == pytest.approx(list(expected), abs=1e-6)
    assert json.loads(ask(server, "GET", "/model")[1])["image_shape"] == [9, 7, 3]


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("GET", "/../../etc/passwd"), 404),
        (("GET", "/predict"), 405),
        (("POST", "/"), 404),
        (("PUT", "/predict", b"x"), 501),
        (("DELETE", "/"), 501),
        (("POST", "/predict", b"not an image"), 422),
        (("POST", "/predict", bomb()), 422),
        (("POST", "/predict", png(np.zeros((9, 7), np.uint8))[:40]), 422),
    ],
)
def test_what_is_no_image_or_no_address_is_refused(server, request_, status):
    found, content, _ = ask(server, *request_)
    assert found == status
    assert set(json.loads(content)) == {"error"}
    assert b"Traceback" not in content


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8000"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_hosts_and_pages_are_refused(server, headers, status, method):
    """A web page whose name was bound to this address gets nothing, nor does a page that sends a form."""
    body = png(np.zeros((9, 7), np.uint8)) if method == "POST" else None
    assert ask(server, method, "/predict" if body else "/", body, **headers)[0] == status


def raw(server, text: bytes, then: bytes = b"") -> bytes:
    """The answer to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(text.replace(b"PORT", str(server.server_port).encode()))
        if then:
            connection.sendall(then)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
    return found


POST = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (POST + b"\r\n", 411),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 411),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 411),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 0\r\n\r\n", 400),
        (POST + "Content-Length: ٣\r\n\r\nabc".encode(), 400),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (POST + f"Content-Length: {LARGEST + 1}\r\n\r\n".encode(), 413),
        (POST + b"Content-Length: 100\r\n\r\nshort", 400),
        (POST + b"Host: 127.0.0.1:PORT\r\nContent-Length: 3\r\n\r\nabc", 421),
        (b"GET / HTTP/1.1\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
    ],
)
def test_malformed_requests_are_answered_in_one_line(server, text, status):
    found = raw(server, text)
    head, _, body = found.partition(b"\r\n\r\n")
    assert (head.split(b" ")[1] if head else body[:200]) == str(status).encode()
    assert set(json.loads(body)) == {"error"}
    assert ask(server, "GET", "/model")[0] == 200  # and the server goes on


def test_clients_that_say_nothing_do_not_block_others(server):
    silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(8)]
    try:
        assert ask(server, "GET", "/model")[0] == 200
    finally:
        for each in silent:
            each.close()


def test_only_this_machine_reaches_it_and_a_taken_port_is_named(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(UserError, match=f"port={server.server_port}"):
        start(server.network, server.server_port)
