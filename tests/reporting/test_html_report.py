"""The report is one safe, self-contained file."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cnn.reporting.calibration import Reliability
from cnn.reporting.examples import examples, surest
from cnn.reporting.html_report import Augmented, DataFacts, write_report
from cnn.reporting.metrics import compute_scores
from cnn.reporting.pictures import image_uri
from cnn.reporting.thresholds import class_thresholds

HOSTILE = ["<script>alert(1)</script>", '" onload="x', "怒り & ärger"]


LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
PROBABILITIES = np.eye(3)[[0, 0, 1, 1, 1, 1, 2]] * 0.97 + 0.01


@pytest.fixture
def scores():
    return compute_scores(LABELS, PROBABILITIES, HOSTILE).as_dict()


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


def maps(indices, classes):
    """A map of 2 x 3 places for each image: the class number at the lower right, nothing elsewhere."""
    found = np.zeros((len(indices), 2, 3))
    found[:, 1, 2] = classes
    return found


def full_report(path, scores, folder, images=True):
    pixels = np.random.default_rng(3).integers(0, 256, (7, 10, 8, 1)).astype(np.uint8)
    wrong, right = surest(LABELS, PROBABILITIES)
    uri = image_uri(pixels[0])
    write_report(
        path,
        "run <b>one</b>",
        scores,
        [{"layer": "conv2d <3x3>", "output_shape": (48, 48, 32), "parameters": 1320, "mflops": 1.5}] * 2,
        [
            {"epoch": 1, "val_accuracy": 0.4, "seconds": 61.0, "train_loss": 2.0, "learning_rate": 0.1},
            {"epoch": 2, "val_accuracy": 0.6, "seconds": 61.0, "train_loss": 1.25, "learning_rate": 0.05},
        ],
        "precision <table>",
        "model:\n  name: </pre><script>alert(2)</script>\n",
        {"git": {"revision": "abc", "dirty": True}, "seed": 0, "list": [1, 2], "nothing": None},
        ["note <u>"],
        split="test",
        baselines={"majority <guess>": 4 / 7, "logistic regression": 0.5},
        mistakes=examples(wrong, pixels, LABELS, PROBABILITIES, HOSTILE, maps) if images else (),
        hits=examples(right, pixels, LABELS, PROBABILITIES, HOSTILE, maps) if images else (),
        node="relu_<7>",
        reliability=Reliability.of(LABELS, PROBABILITIES),
        thresholds=class_thresholds((LABELS, PROBABILITIES), (LABELS, PROBABILITIES), HOSTILE),
        data=DataFacts({"train": [5, 6, 7], "test": [4, 2, 1]}, {"train": 3}, "No <leak> found.", False, "It is <x>."),
        augmented=[Augmented(HOSTILE[0], uri, [uri, uri])] if images else (),
        command="python -m cnn.train 'data.path=<p>'",
    )


@pytest.mark.parametrize(("leaks", "classes"), [(False, "verdict good"), (True, "verdict bad"), (None, "verdict")])
def test_only_a_leak_from_training_is_red_and_only_none_at_all_green(tmp_path, scores, leaks, classes):
    data = DataFacts({"train": [5, 6, 7]}, {}, "Of the audit.", leaks)
    write_report(tmp_path / "report.html", "a title", scores, data=data)
    assert f'<p class="{classes}">Of the audit.</p>' in (tmp_path / "report.html").read_text()


def test_everything_is_escaped_and_balanced(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    page = outline(tmp_path / "report.html")
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "b", "i", "u", "x", "p>", "link", "iframe", "form"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    text = "".join(page.text)
    for expected in [
        *HOSTILE,
        "run <b>one</b>",
        "</pre><script>alert(2)</script>",
        "majority <guess>",
        "note <u>",
        "relu_<7>",
        "<p>",
    ]:
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


def test_images_say_what_they_show(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    page = outline(tmp_path / "report.html")
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    alts = [image["alt"] for image in images]
    assert f"image with the label {HOSTILE[0]}, predicted as {HOSTILE[1]} with 98%" in alts
    assert f"what speaks for {HOSTILE[1]}: most of it in the lower right (100% of the map)" in alts
    assert f"what speaks for {HOSTILE[0]}: no place speaks for it" in alts  # the maps have the class number, here 0
    sizes = [Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2]))).size for image in images]
    assert {(8, 10), (3, 2)} == set(sizes)
    veils = [image["src"] for image, size in zip(images, sizes, strict=True) if size == (3, 2)]
    strongest = np.asarray(Image.open(io.BytesIO(base64.b64decode(veils[0].partition("base64,")[2]))))
    assert strongest[1, 2, 3] > 150
    assert strongest[..., 3].sum() == strongest[1, 2, 3]


def test_the_surest_are_chosen_by_confidence_and_hits_by_class():
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.5, 0.99])
    predicted = np.array([0, 0, 0, 1, 0, 2, 1])  # the fifth and the last are mistakes
    probabilities = np.full((7, 3), 0.001)
    probabilities[np.arange(7), predicted] = sure
    mistakes, hits = surest(labels, probabilities, 2, 4)
    assert mistakes.tolist() == [6, 4]
    assert hits.tolist() == [0, 3, 5, 1]


def test_charts_are_described_in_words(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = outline(tmp_path / "report.html")
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 4
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for chart in charts:
        assert chart["role"] == "img"
        assert set(chart["aria-labelledby"].split()) <= set(ids)
    assert "training: 2 in epoch 1, 1.25 in epoch 2." in text
    assert "validation: 40 % in epoch 1, 60 % in epoch 2. The best epoch is 2, with 60 %." in text
    assert "The network is too sure: its mean confidence is 98.0 %, and 71.4 % of its predictions" in text
    assert not re.search(r"(stroke|fill)[=:] ?[\"']?#", text)  # every colour is one of the page's, for both modes


def test_without_images_there_is_none(tmp_path, scores):
    full_report(tmp_path / "report.html", scores, tmp_path, images=False)
    page = outline(tmp_path / "report.html")
    assert "img" not in {tag for tag, _ in page.tags}
    assert "What it saw" not in "".join(page.text)


def test_equal_runs_give_equal_files(tmp_path, scores):
    for name in ("one", "two"):
        full_report(tmp_path / name, scores, tmp_path)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_many_classes_are_a_list_of_confusions(tmp_path):
    classes = [f"class {number}" for number in range(30)]
    labels = np.repeat(np.arange(30), 3)
    probabilities = np.eye(30)[np.where(labels == 7, 8, labels)]
    write_report(tmp_path / "r.html", "run", compute_scores(labels, probabilities, classes).as_dict())
    text = " ".join(" ".join(outline(tmp_path / "r.html").text).split())
    assert "label predicted as images of the label class 7 class 8 3 100.0 %" in text
    assert "Confusion matrix" not in text


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
    assert f"{HOSTILE[1]} \N{MULTIPLICATION SIGN} 2" in text  # what the first class was most often predicted as
    assert "git · dirty yes" in text
    assert "Compared with" in text
    assert "Details" in text
    assert "No <leak> found." in text
    assert "3 of the train images are augmented copies" in text
    assert "python -m cnn.train 'data.path=<p>'" in text
    assert "consider who may see this page" in text
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
