"""The images exist, decode, and show what they should; nothing is left half-written."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cnn.reporting.plots import best_row, plot_confusion_matrix, plot_curves, plot_predictions

HOSTILE = ["<script>alert(1)</script>", "$\\frac$ 怒り", "a very long name of a class\nwith a line break"]


def history(epochs):
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 0.8 / epoch,
            "val_loss": 2.1 / epoch,
            "val_accuracy": [0.3, 0.7, 0.7, 0.6][(epoch - 1) % 4],
            "learning_rate": 1e-3 / epoch,
            "seconds": 1.5,
            "images_per_second": 1000.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def decode(path):
    """The image as (H, W) grey levels, after a full decode."""
    with Image.open(path) as figure:
        assert figure.format == "PNG"
        return np.asarray(figure.convert("L"))


@pytest.mark.parametrize("epochs", [1, 2, 4, 60])
def test_curves(tmp_path, epochs, texts):
    path = tmp_path / "curves.png"
    plot_curves(history(epochs), path)
    height, width = decode(path).shape
    assert width > 1200
    assert height > 400
    assert decode(path).std() > 5  # not a blank sheet
    expected = "best 30.0% at epoch 1" if epochs == 1 else "best 70.0% at epoch 2"
    assert any(expected in text for text in texts)
    assert not any("$" in text for text in texts)
    assert ({"0.1", "1"} <= set(texts)) == (epochs == 60)  # then the loss has a logarithmic axis
    assert {"train", "validation", "Learning rate"} <= set(texts)


def test_curves_mark_the_epoch_that_the_caller_names(tmp_path, texts):
    plot_curves(history(4), tmp_path / "curves.png", best_epoch=4)
    assert any("best 60.0% at epoch 4" in text for text in texts)


def test_curves_survive_gaps_and_a_diverged_run(tmp_path):
    rows = history(3)
    rows[0] |= {"val_loss": None, "val_accuracy": None, "learning_rate": 0.0}
    rows[1] |= {"train_loss": float("nan"), "val_loss": 1e9}
    rows[2] |= {"val_accuracy": float("nan")}
    plot_curves(rows, tmp_path / "curves.png")
    assert decode(tmp_path / "curves.png").std() > 5


def test_curves_without_validation(tmp_path):
    rows = [{key: value for key, value in row.items() if not key.startswith("val_")} for row in history(3)]
    plot_curves(rows, tmp_path / "curves.png")
    assert best_row(rows) is None


def test_curves_need_an_epoch(tmp_path):
    with pytest.raises(ValueError, match="no epoch"):
        plot_curves([], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_confusion_matrix_shows_counts_and_shares_of_the_row(tmp_path, texts):
    path = tmp_path / "confusion_matrix.png"
    plot_confusion_matrix(np.array([[1500, 500], [1, 999]]), ["cat", "dog"], path)
    assert {"1,500", "500", "75%", "25%", "<1%", "999", "cat (2,000)", "2,499 of 3,000 images right"} <= set(texts)
    height, width = decode(path).shape
    assert 400 < height < 2000
    assert 400 < width < 2000


def test_a_share_below_one_percent_is_not_written_as_none(tmp_path, texts):
    plot_confusion_matrix(np.array([[995, 5], [8, 992]]), ["cat", "dog"], tmp_path / "confusion_matrix.png")
    assert "<1%" in texts
    assert not {"0%", "1%"} & set(texts)


def test_confusion_matrix_colours_by_row(tmp_path):
    """A small class that is always right is as dark as a large one, an empty class is as pale as no mistake."""
    path = tmp_path / "confusion_matrix.png"
    shown = []
    original = Axes.imshow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "imshow", lambda self, x, **kw: (shown.append(x), original(self, x, **kw))[1])
        plot_confusion_matrix(np.array([[3, 0, 0], [250, 750, 0], [0, 0, 0]]), ["a", "b", "c"], path)
    np.testing.assert_allclose(shown[0], [[1, 0, 0], [0.25, 0.75, 0], [0, 0, 0]])


@pytest.mark.parametrize("count", [1, 3, 16, 31])
def test_confusion_matrix_of_any_size(tmp_path, count):
    names = (HOSTILE * count)[:count] if count <= 3 else [f"class {number}" for number in range(count)]
    plot_confusion_matrix(np.eye(count, dtype=np.int64) * 7, names, tmp_path / "confusion_matrix.png")
    assert max(decode(tmp_path / "confusion_matrix.png").shape) < 4000


def test_confusion_matrix_refuses_a_wrong_shape(tmp_path):
    with pytest.raises(ValueError, match="3 classes"):
        plot_confusion_matrix(np.eye(2, dtype=np.int64), ["a", "b", "c"], tmp_path / "x.png")


def sheet_input(mistakes, right, channels=1):
    generator = np.random.default_rng(0)
    count = mistakes + right
    images = generator.integers(0, 256, (count, 12, 12, channels), dtype=np.uint8)
    labels = np.zeros(count, np.int64)
    sure = np.linspace(0.55, 0.95, count)
    probabilities = np.zeros((count, 3), np.float32)
    says = np.where(np.arange(count) < mistakes, 1, 0)
    probabilities[np.arange(count), says] = sure
    probabilities[np.arange(count), 1 - says] = 1 - sure
    return images, labels, probabilities


@pytest.mark.parametrize(
    ("mistakes", "right", "channels"), [(0, 3, 1), (3, 0, 3), (1, 40, 1), (40, 40, 1), (9, 8, 3), (1, 1, 1)]
)
def test_predictions(tmp_path, mistakes, right, channels, texts):
    path = tmp_path / "predictions.png"
    plot_predictions(*sheet_input(mistakes, right, channels), HOSTILE, path)
    total = mistakes + right
    assert f"Most confident mistakes · {mistakes} in {total} images" in texts
    assert f"Most confident right answers · {right} in {total} images" in texts
    assert texts.count("none") == (mistakes == 0) + (right == 0)
    assert sum("label:" in text for text in texts) == min(mistakes, 16)
    assert decode(path).shape[1] > 1200


def test_predictions_show_images_upright_and_from_left_to_right(tmp_path):
    """The surest of all is red above blue, the next one green; the others are grey. None is square."""
    _, labels, probabilities = sheet_input(12, 3)
    images = np.full((15, 10, 20, 3), 128, np.uint8)
    images[11, :5], images[11, 5:], images[10] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    plot_predictions(images, labels, probabilities, ["a", "b", "c"], tmp_path / "predictions.png")
    with Image.open(tmp_path / "predictions.png") as figure:
        sheet = np.asarray(figure.convert("RGB"))
    red, blue, green = (
        np.argwhere((sheet == colour).all(axis=-1)) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))
    )
    (top, left), (middle, right) = red.min(axis=0), red.max(axis=0)
    assert blue.min(axis=0)[0] > middle
    assert np.abs(blue.min(axis=0)[1] - left) <= 2
    assert np.abs(blue.max(axis=0)[1] - right) <= 2
    assert green.min(axis=0)[1] > right
    assert np.abs(green.min(axis=0)[0] - top) <= 2
    assert (right - left) / (blue.max(axis=0)[0] - top) == pytest.approx(2, rel=0.1)  # as wide as it is


def test_predictions_begin_with_the_surest(tmp_path, texts):
    images, labels, probabilities = sheet_input(20, 1)
    plot_predictions(images, labels, probabilities, ["a", "b", "c"], tmp_path / "predictions.png", mistake_rows=1)
    shown = [text for text in texts if "label:" in text]
    surest = sorted(probabilities[:20, 1], reverse=True)[:8]
    assert shown == [f"b {share:.0%}\nlabel: a" for share in surest]


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, monkeypatch):
    kept = tmp_path / "curves.png"
    plot_curves(history(2), kept)
    before = kept.read_bytes()
    save = Figure.savefig

    def fail(figure, target, **options):
        save(figure, target, **options)
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk is full"):
        plot_curves(history(4), kept)
    with pytest.raises(OSError, match="disk is full"):
        plot_confusion_matrix(np.eye(2, dtype=np.int64), ["a", "b"], tmp_path / "new.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert kept.read_bytes() == before
