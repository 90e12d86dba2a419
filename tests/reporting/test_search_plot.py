"""The plot of a search."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from PIL import Image

from cnn.reporting import search_plot
from cnn.reporting.search_plot import plot_search
from cnn.reporting.style import saved_figure


def trial(number, value, state="complete", log=(), **options):
    return {"number": number, "value": value, "state": state, "options": options, "log": list(log)}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, to look into them."""
    drawn = []

    @contextmanager
    def kept(*arguments):
        with saved_figure(*arguments) as figure:
            yield figure
            drawn.append(figure)

    monkeypatch.setattr(search_plot, "saved_figure", kept)
    return drawn


def test_each_option_has_a_diagram_of_the_scores(tmp_path, figures):
    trials = [
        trial(0, 0.5, log=["rate"], rate=1e-3, kind="$a_b$"),
        trial(1, 0.2, "pruned", log=["rate"], rate=1e-4, kind="x"),
        trial(2, None, "fail", log=["rate"], rate=1.0, kind="x"),
        trial(3, 0.4, log=["rate"], rate=1e-2, kind="x"),
        trial(4, 0.7, log=["rate"], rate=2e-2, kind="$a_b$"),
    ]
    plot_search(trials, tmp_path / "search.png")
    with Image.open(tmp_path / "search.png") as image:
        assert min(image.size) > 300
    (figure,) = figures
    over_trials, over_rate, over_kind = figure.axes
    best = next(line for line in over_trials.lines if line.get_label() == "best so far")
    assert list(best.get_xdata()) == [0, 3, 4]
    assert list(best.get_ydata()) == [0.5, 0.5, 0.7]
    assert over_rate.get_xscale() == "log"
    points = sorted((x, y) for line in over_rate.lines for x, y in zip(*line.get_data(), strict=True))
    assert points == [(1e-4, 0.2), (1e-3, 0.5), (1e-2, 0.4), (2e-2, 0.7)]
    figure.canvas.draw()
    assert {"0.001", "0.01"} <= {label.get_text() for label in over_rate.get_xticklabels()}
    assert [label.get_text() for label in over_kind.get_xticklabels()] == ["$a_b$", "x"]


@pytest.mark.parametrize(
    ("rates", "ticks"),
    [
        ((0.012, 0.18), ["0.02", "0.05", "0.1"]),
        ((0.00012, 0.004), ["0.0003", "0.001", "0.003"]),
        ((2e-5, 0.3), ["0.0001", "0.001", "0.01", "0.1"]),
    ],
)
def test_a_narrow_log_axis_has_ticks_between_powers_of_ten(tmp_path, figures, rates, ticks):
    plot_search([trial(n, 0.5, log=["rate"], rate=rate) for n, rate in enumerate(rates)], tmp_path / "s.png")
    (figure,) = figures
    figure.canvas.draw()
    shown = figure.axes[1].get_xticklabels()
    assert [tick.get_text() for tick in shown if rates[0] <= tick.get_position()[0] <= rates[1]] == ticks


def test_choices_that_are_numbers_stand_in_their_order(tmp_path, figures):
    choices = ("64", "relu", "128", "8.5", "nan")
    plot_search([trial(n, 0.5, size=choice) for n, choice in enumerate(choices)], tmp_path / "s.png")
    labels = [label.get_text() for label in figures[0].axes[1].get_xticklabels()]
    assert labels == ["8.5", "64", "128", "nan", "relu"]


@pytest.mark.parametrize("trials", [[], [trial(0, None, "fail", rate=1.0)]])
def test_nothing_is_drawn_without_a_score(tmp_path, trials):
    plot_search(trials, tmp_path / "search.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_options(tmp_path, figures, count):
    plot_search([trial(0, 0.5, **{f"o{place}": place for place in range(count)})], tmp_path / "search.png")
    assert len(figures[0].axes) == 1 + count
