"""Writes a network as a page: one HTML file that opens from disk and needs no network.

The page has an engine of its own in plain JavaScript (`page/engine.js`) rather than onnxruntime-web: that is twelve
megabytes of WebAssembly, which no Python package brings, and which a page would carry as sixteen megabytes of text. Our
engine has some kilobytes, and is fast enough for the networks that a page is for. It is compared with our own output by
Node, if that is installed, and by the page itself whenever it is opened.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.card import card_sections, confusion_of, of_faces
from cnn.exporting.network import Portable
from cnn.exporting.page_faces import FaceDetector
from cnn.exporting.page_graph import PageGraph, page_graph
from cnn.exporting.parity import TOLERANCE, Parity, check_inputs, softmax
from foundation.inlined import policy_hash
from foundation.pages import templates

FOLDER = Path(__file__).parent / "page"
_CHECKS = (2, 13, 20)  # of the inputs on which exports are compared: a smooth one and two of noise

_RUN = """
const [engine, folder] = process.argv.slice(2), fs = require("fs");
const Engine = require(engine), read = (name) => new Uint8Array(fs.readFileSync(`${folder}/${name}`)).slice();
const network = new Engine.Network(JSON.parse(fs.readFileSync(`${folder}/network.json`)), read("weights"));
const inputs = read("inputs"), size = network.description.shape.reduce((a, b) => a * b), found = [];
for (let at = 0; at < inputs.length; at += size) found.push(network.run(inputs.subarray(at, at + size)).logits);
console.log(JSON.stringify(found));
"""


@dataclass(frozen=True)
class Example:
    """An image that the page offers, and what it shows."""

    name: str
    png: bytes


def write_page(
    network: Portable,
    path: Path,
    parity: Parity | None,
    examples: Sequence[Example] = (),
    detector: FaceDetector | None = None,
) -> None:
    """Write the page."""
    path.write_text(page_text(network, parity, examples, detector), encoding="utf-8")


def page_text(
    network: Portable,
    parity: Parity | None = None,
    examples: Sequence[Example] = (),
    detector: FaceDetector | None = None,
) -> str:
    """The page as text, with a detector of faces if one is given.

    Raises `UserError` if the network does not take images that a browser has.
    """
    graph = page_graph(network)
    description = graph.description()
    inputs = check_inputs(network)[list(_CHECKS)]
    data = {
        "network": description,
        "weights": _base64(graph.weights()),
        "tolerance": TOLERANCE,
        "checks": [
            {"pixels": _base64(pixels.tobytes()), "probabilities": row.tolist()}
            for pixels, row in zip(inputs, softmax(network.logits(inputs)), strict=True)
        ],
        "examples": [{"name": each.name, "png": _base64(each.png)} for each in examples],
        "faces": None if detector is None else {**detector.description, "weights": _base64(detector.weights)},
    }
    scripts = ["engine.js", *(["faces.js"] if detector is not None else []), "app.js"]
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    script = "".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    return (
        templates(FOLDER)
        .get_template("page.html.j2")
        .render(
            title=f"{network.name}: {len(network.classes)} classes",
            policy=_policy(style, script),
            style=style,
            script=script,
            data=_in_html(data),
            width=network.shape[1],
            height=network.shape[0],
            classes=network.classes,
            card=card_sections(network, parity),
            confusion=confusion_of(network),
            explanation=_explanation(description),
            detector=detector is not None,
            notice="" if detector is None else detector.notice,
            faces=of_faces(network),
            examples=bool(examples),
        )
    )


class NodeEngine:
    """The page's engine, run by Node."""

    def __init__(self, network: Portable) -> None:
        """Raises `LookupError` where Node is not installed."""
        node = shutil.which("node")
        if node is None or not os.path.isabs(node):
            raise LookupError("Node is not installed")
        self._node, self._graph = node, page_graph(network)
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        self.referee = f"the page's engine on Node {version}"

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Logits (n, classes)."""
        with tempfile.TemporaryDirectory() as folder:
            _write_graph(self._graph, Path(folder))
            (Path(folder) / "inputs").write_bytes(np.ascontiguousarray(inputs).tobytes())
            (Path(folder) / "run.js").write_text(_RUN, encoding="utf-8")
            command = [self._node, str(Path(folder) / "run.js"), str(FOLDER / "engine.js"), folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        return np.array(json.loads(done.stdout), np.float64)


def _write_graph(graph: PageGraph, folder: Path) -> None:
    (folder / "network.json").write_text(json.dumps(graph.description()), encoding="utf-8")
    (folder / "weights").write_bytes(graph.weights())


def _policy(style: str, script: str) -> str:
    """Nothing is loaded and nothing is sent; of scripts and styles only those with these checksums are used."""
    return (
        "default-src 'none'; connect-src 'none'; form-action 'none'; base-uri 'none'; img-src data: blob:; "
        f"script-src {policy_hash(script)}; style-src {policy_hash(style)}"
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _in_html(data: Any) -> str:
    """JSON that cannot end the element it is in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _explanation(description: dict[str, Any]) -> str:
    if description["map"] is None:
        return (
            "how much less it sees the class when that part is covered. This network has no feature map in front of "
            "its last layers, from which a class activation could be computed. Not shown with the camera."
        )
    return "where its last feature map speaks for the class (Grad-CAM)."
