"""The page of a leaderboard: complete, sortable, loading nothing, and safe with text from strangers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from job_folders import make_job, scored

from cnn.reporting.leaderboard import write_leaderboard
from exporting.browser import CHROMIUM, browser


class Page(HTMLParser):
    """Tables as rows of (text, value to sort by), links, and which of the rows stand in folded parts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables, self.links, self.scripts, self.tags = [], [], [], []
        self._folded = 0
        self.folded = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.tags.append((tag, known))
        if tag == "table":
            self.tables.append([])
            self.folded.append(self._folded > 0)
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(["", known.get("data-value")])
        elif tag == "a":
            self.links.append(known["href"])
        elif tag == "script":
            self.scripts.append("")
        elif tag == "details":
            assert "open" not in known
            self._folded += 1

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))
        if tag == "details":
            self._folded -= 1

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data
        elif self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1][0] += data


def page(folder):
    write_leaderboard(folder)
    text = (folder / "leaderboard.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def sweep(tmp_path):
    """Two models x three seeds and a failed job; the model that is better on validation is worse on the test split."""
    values = {"one": [0.80, 0.84, 0.82], "two": [0.70, 0.72, 0.71]}
    for number, (model, seed) in enumerate((model, seed) for model in values for seed in range(3)):
        job = tmp_path / f"{number} #%20"
        metrics = scored(seed, values[model][seed], 1.5 - values[model][seed], parameters=1000 * (1 + number // 3))
        make_job(job, [f"model={model}", f"seed={seed}", "trainer.epochs=3"], metrics)
        (job / "report.html").write_text("")
    make_job(tmp_path / "6", ["model=two", "seed=3", "trainer.epochs=3"], error=True)
    return tmp_path


def test_rows_have_mean_deviation_seeds_parameters_and_time(sweep):
    _, found = page(sweep)
    heading, first, second = found.tables[0]
    names = [" ".join(text.split()) for text, _ in heading]
    assert names == ["rank", "model", "validation accuracy", "n", "runs, by seed", "parameters", "time", "images/s"]
    assert [" ".join(text.split()) for text, _ in first] == [
        "1", "one", "0.8200 ± 0.0200", "3", "0, 1, 2", "1,000", "11 s", "500",
    ]  # fmt: skip
    assert [" ".join(text.split()) for text, _ in second][:5] == [
        "2",
        "two",
        "0.7100 ± 0.0100",
        "3",
        "0, 1, 2, 1 without a score",
    ]
    assert [float(cell[1]) for cell in (first[2], first[5], first[6])] == pytest.approx([0.82, 1000, 11.0])


def test_test_scores_are_folded_away(sweep):
    text, found = page(sweep)
    shown = [
        cell
        for table, folded in zip(found.tables, found.folded, strict=True)
        if not folded
        for row in table
        for cell in row
    ]
    hidden = [
        cell
        for table, folded in zip(found.tables, found.folded, strict=True)
        if folded
        for row in table
        for cell in row
    ]
    for score in ("0.6800", "0.7900"):  # means on the test split
        assert not any(score in f"{cell}" for cell in shown)
        assert any(score in cell[0] for cell in hidden)
    open_part = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "0.68" not in open_part
    assert "0.79" not in open_part


def test_every_run_is_linked_by_a_relative_path_that_exists(sweep):
    from urllib.parse import unquote, urlparse  # noqa: PLC0415

    _, found = page(sweep)
    runs = [link for link in found.links if "report.html" in link]
    assert len(runs) == 6
    for link in found.links:
        parsed = urlparse(link)
        assert (parsed.scheme, parsed.netloc, parsed.query, parsed.fragment) == ("", "", "", "")
        assert (sweep / unquote(parsed.path)).exists()


def test_the_page_loads_nothing_and_runs_only_its_own_script(sweep):
    text, found = page(sweep)
    assert not re.search(r"https?://", text)
    assert not [tag for tag, attributes in found.tags if {"src", "srcset", "onclick", "onload"} & attributes.keys()]
    (script,) = found.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [known["content"] for tag, known in found.tags if known.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)> &amp; \N{SNOWMAN}"


def test_text_from_strangers_is_text(tmp_path):
    for number in range(2):
        overrides = json.dumps(
            [f"model={HOSTILE}{number}", f"note{number}={HOSTILE}", f"seed={HOSTILE}", f"same={HOSTILE}"]
        )
        metrics = {**scored(0, 0.5, 0.5, model=HOSTILE), "seed": HOSTILE}
        folder = tmp_path / f"javascript:alert({number})"
        make_job(folder, [], metrics)
        (folder / ".hydra/overrides.yaml").write_text(overrides)
    text, found = page(tmp_path)
    assert len(found.scripts) == 1
    assert "img" not in {tag for tag, _ in found.tags}
    assert text.count("<script") == 1
    assert all(link.startswith("./") for link in found.links)
    assert HOSTILE + "0" in [cell[0].strip() for cell in found.tables[0][1]]


@pytest.mark.parametrize(
    "strange",
    [
        {"val_accuracy": "high"},
        {"val_accuracy": None},
        {"val_accuracy": 7, "seconds": -1},
        {"val_accuracy": 0.5, "seconds": "long", "parameters": []},
    ],
)
def test_strange_metrics_cost_no_page(tmp_path, strange):
    make_job(tmp_path / "0", ["model=a"], strange)
    _, found = page(tmp_path)
    assert len(found.tables[0]) == 2


def test_a_pruned_job_is_neither_finished_nor_failed(tmp_path):
    make_job(tmp_path / "0", ["a=1"], scored(0, 0.5, 0.5))
    make_job(tmp_path / "1", ["a=2"])
    (tmp_path / "1/pruned.json").write_text('{"epoch": 3, "val_accuracy": 0.4}')
    text, found = page(tmp_path)
    assert "stopped after epoch 3" in found.tables[0][2][2][0]
    assert "1 of 2 jobs finished, 1 stopped early" in " ".join(text.split())
    assert "failed" not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL)


def test_headings_are_the_ends_of_keys_where_these_differ(tmp_path):
    for number, rate in enumerate((0.1, 0.2)):
        options = [f"optimizer.learning_rate={rate}", f"a.size={number}", f"b.size={number}"]
        make_job(tmp_path / str(number), ["model=one", "seed=0", *options], scored(0, 0.5 + rate, 0.5))
    _, found = page(tmp_path)
    names = [" ".join(text.split()) for text, _ in found.tables[0][0]]
    assert names[2:6] == ["validation accuracy", "a.size", "b.size", "learning_rate"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_click_on_a_heading_sorts_and_the_score_is_in_sight(tmp_path):
    """Seven options that differ, as in an ablation: the score stays within the window, and no name is cut."""
    parts = ("flip", "shift", "rotate", "zoom", "brightness", "contrast", "erase")
    for number, part in enumerate(parts):
        metrics = scored(0, 0.5 + 0.01 * number, 0.5, parameters=1000 - 200 * (number % 3))
        make_job(tmp_path / str(number), ["model=vgg_strided", "seed=0", f"augment.{part}={number}"], metrics)
    write_leaderboard(tmp_path)
    column = (
        "[...document.querySelectorAll('table.sortable tbody tr')].map((row) => Number(row.cells[%d].dataset.value))"
    )
    click = "[...document.querySelectorAll('thead button')].find((each) => each.textContent === '%s').click()"
    with browser(tmp_path / "profile") as tab:
        tab.resize(1280)
        tab.open((tmp_path / "leaderboard.html").as_uri())
        assert tab.evaluate(column % 0) == [1, 2, 3, 4, 5, 6, 7]
        tab.evaluate(click % "validation accuracy")
        assert tab.evaluate(column % 0) == [1, 2, 3, 4, 5, 6, 7]  # the best first
        tab.evaluate(click % "validation accuracy")
        assert tab.evaluate(column % 0) == [7, 6, 5, 4, 3, 2, 1]
        tab.evaluate(click % "parameters")
        assert tab.evaluate(column % (len(parts) + 5)) == [600, 600, 800, 800, 1000, 1000, 1000]
        tab.evaluate(click % "zoom")  # one row has a value: it comes first, the others are empty
        assert tab.evaluate(column % 0)[0] == 4
        sorted_by = "[...document.querySelectorAll('th[aria-sort]')].map((each) => each.textContent.trim())"
        assert tab.evaluate(sorted_by) == ["zoom"]
        place = "document.querySelector('tbody td.score').getBoundingClientRect().right <= innerWidth"
        one_line = "document.querySelector('tbody td.name').getBoundingClientRect().height"
        assert tab.evaluate(place)
        assert tab.evaluate(f"{one_line} === document.querySelector('tbody td.score').getBoundingClientRect().height")
        for width in (1280, 400):
            tab.resize(width)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.complaints() == []
