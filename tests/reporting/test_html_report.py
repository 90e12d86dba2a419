"""The report is one safe, self-contained file."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cnn.reporting.html_report import write_report
from cnn.reporting.metrics import compute_scores

HOSTILE = ["<script>alert(1)</script>", '" onload="x', "怒り & ärger"]


@pytest.fixture
def scores():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1, 1, 1, 2]] * 0.97 + 0.01
    return compute_scores(labels, probabilities, HOSTILE).as_dict()


def save_png(path, width=200, height=100):
    Image.new("L", (width, height), 128).save(path)
    return path


class Outline(HTMLParser):
    """Tags with attributes, their balance, and the text of the page."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(path):
    page = Outline()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def full_report(path, scores, folder):
    write_report(
        path,
        "run <b>one</b>",
        scores,
        [{"layer": "conv2d <3x3>", "output_shape": (48, 48, 32), "parameters": 1320, "mflops": 1.5}] * 2,
        [{"epoch": 1, "val_accuracy": 0.4, "seconds": 61.0}, {"epoch": 2, "val_accuracy": 0.6, "seconds": 61.0}],
        {
            "curves": save_png(folder / "curves.png"),
            "missing": folder / "missing.png",
            "last <i>": save_png(folder / "p.png"),
        },
        "precision <table>",
        "model:\n  name: </pre><script>alert(2)</script>\n",
        {"git": {"revision": "abc", "dirty": True}, "seed": 0, "list": [1, 2], "nothing": None},
        ["note <u>"],
        split="test",
        baselines={"majority <guess>": 4 / 7, "logistic regression": 0.5},
    )


def test_everything_is_escaped_and_balanced(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    page = outline(tmp_path / "report.html")
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "b", "i", "u", "link", "iframe", "object", "form"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    text = "".join(page.text)
    for expected in [*HOSTILE, "run <b>one</b>", "</pre><script>alert(2)</script>", "majority <guess>", "note <u>"]:
        assert expected in text


def test_nothing_is_loaded_from_elsewhere(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    page = outline(tmp_path / "report.html")
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or "src" not in attributes
        assert "href" not in attributes
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text
    assert str(tmp_path) not in text


def test_figures_are_inside_and_missing_ones_left_out(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    images = [attributes for tag, attributes in outline(tmp_path / "report.html").tags if tag == "img"]
    assert [image["alt"] for image in images] == ["curves", "last <i>"]
    content = base64.b64decode(images[0]["src"].partition("base64,")[2], validate=True)
    assert content == (tmp_path / "curves.png").read_bytes()
    assert (images[0]["width"], images[0]["height"]) == ("200", "100")


def test_the_page_says_what_was_measured(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    text = " ".join(" ".join(outline(tmp_path / "report.html").text).split())
    assert "71.4 % of 7 images of the test split right" in text  # 5 of 7
    low, high = scores["accuracy_interval"]
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in text
    assert "best epoch 2 of 2" in text
    assert "training time 2 min 2 s" in text
    assert "48 \N{MULTIPLICATION SIGN} 48 \N{MULTIPLICATION SIGN} 32" in text
    assert "2,640" in text
    assert f"{HOSTILE[1]} \N{MULTIPLICATION SIGN} 2" in text  # what the first class was most often taken for
    assert "git · dirty yes" in text
    assert "Compared with" in text
    assert "Details" in text
    # the network stands above both baselines, as it is better
    assert text.index("this network") < text.index("majority <guess> ") < text.index("logistic regression")


def test_light_and_dark_and_narrow(tmp_path, scores):
    write_report(tmp_path / "report.html", "run", scores)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_a_report_of_scores_alone(tmp_path, scores):
    write_report(tmp_path / "report.html", "run", scores, split="validation")
    page = outline(tmp_path / "report.html")
    text = " ".join(" ".join(page.text).split())
    assert "of the validation split" in text
    assert "Compared with" not in text
    assert "Details" not in text
    assert "img" not in {tag for tag, _ in page.tags}


def test_one_epoch_and_a_class_without_images(tmp_path):
    scores = compute_scores(np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]), ["a", "b"]).as_dict()
    write_report(tmp_path / "report.html", "run", scores, history=[{"epoch": 1, "val_accuracy": 1.0}])
    text = " ".join(" ".join(outline(tmp_path / "report.html").text).split())
    assert "100.0 % of 2 images" in text
    assert "best epoch 1 of 1" in text
    assert "training time" not in text


def test_a_failure_leaves_the_old_report(tmp_path, scores):
    path = tmp_path / "report.html"
    write_report(path, "old", scores)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_report(path, "new", {"accuracy": 0.5, "per_class": {"a": {}}})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
