"""axe-core in Chromium finds no serious violation on any page, wide and light or narrow and dark.

It needs Chromium, and axe-core: `npm install --no-save axe-core` in the project's folder, or the path of its
`axe.min.js` in CNN_AXE. The contrast of the pages' colours is also tested without both, in
tests/foundation/test_contrast.py.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from job_folders import make_job, scored
from PIL import Image
from test_html_report import LABELS, PROBABILITIES, full_report

from cnn.reporting.comparison import PairedCounts
from cnn.reporting.comparison_page import Differing, Side, class_differences, render_comparison
from cnn.reporting.leaderboard import write_leaderboard
from cnn.reporting.metrics import compute_scores
from cnn.reporting.pictures import image_uri
from exporting.browser import CHROMIUM

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("CNN_AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
MISSING = "Chromium is not installed" if CHROMIUM is None else "" if AXE.is_file() else f"axe-core is not at {AXE}"
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def report(folder):
    names = ["angry", "happy & <sad>", "neutral"]
    scores = compute_scores(LABELS, PROBABILITIES, names).as_dict()
    full_report(folder / "report.html", scores, folder)
    return folder / "report.html"


def leaderboard(folder):
    for number in range(4):
        metrics = scored(number % 2, 0.7 + number / 20, 0.6)
        make_job(folder / str(number), [f"model=m{number // 2}", f"seed={number % 2}"], metrics)
    make_job(folder / "4", ["model=m1", "seed=3"], error=True)
    write_leaderboard(folder)
    return folder / "leaderboard.html"


def comparison(folder):
    rng = np.random.default_rng(2)
    labels, a, b = rng.integers(0, 3, 40), rng.random(40) < 0.7, rng.random(40) < 0.5
    history = [{"epoch": n, "val_accuracy": n / 5, "val_loss": 1 / n, "train_loss": 2 / n} for n in range(1, 4)]
    sides = (Side([f"runs/{name}"], "lenet", [3], [0], [0.5], [history]) for name in "ab")
    image = image_uri(rng.integers(0, 256, (12, 12, 1)).astype(np.uint8))
    shown = [Differing("7.png", "sad", "sad (80%)", "happy (60%)", side, image) for side in "AB"]
    classes = class_differences(labels, a, b, ["sad", "happy", "angry"])
    page = render_comparison(
        "validation", *sides, ["A is better."], classes, [("seed", "0", "1")], PairedCounts.of(a, b), shown, 9
    )
    (folder / "comparison.html").write_text(page, encoding="utf-8")
    return folder / "comparison.html"


def audit_page(folder):
    rng = np.random.default_rng(4)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "set" / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (16, 16)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "set" / split / name / f"{number}.png")
    shutil.copy(folder / "set/train/cat/0.png", folder / "set/test/dog/9.png")  # a leak, and a conflict
    (folder / "set/train/cat/broken.png").write_bytes(b"no image")
    options = [f"path={folder / 'set'}", "duplicates=pixels", f"hydra.run.dir={folder / 'out'}"]
    subprocess.run([sys.executable, "-m", "data_tools.audit", *options], cwd=ROOT, check=True, capture_output=True)
    return folder / "out" / "audit.html"


def violations(page, width, scheme, folder):
    """What axe-core finds on the page, as (impact, rule, elements)."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)  # the page itself runs nothing
    text = text.replace("<details>", "<details open>")
    run = "axe.run().then(found => document.body.textContent = 'AXE' + JSON.stringify(found.violations) + 'AXE')"
    scripts = (
        f"<script>{AXE.read_text(encoding='utf-8')}</script><script>addEventListener('load', () => {run})</script>"
    )
    checked = folder / "checked.html"
    checked.write_text(text.replace("</body>", f"{scripts}</body>"), encoding="utf-8")
    # Without a sandbox, because a container allows none; the page is our own.
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    done = subprocess.run(
        [
            *(
                str(CHROMIUM),
                *options,
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={folder / 'u'}",
            ),
            *(f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", f"--window-size={width},900"),
            *("--virtual-time-budget=20000", "--dump-dom", checked.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    (found,) = re.findall(r"AXE(.*)AXE</body>", done.stdout, flags=re.DOTALL)
    return [
        (each["impact"], each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in json.loads(html.unescape(found))
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("page", [report, leaderboard, comparison, audit_page], ids=lambda page: page.__name__)
def test_axe_finds_no_serious_violation(page, width, scheme, tmp_path):
    found = violations(page(tmp_path), width, scheme, tmp_path)
    assert not [each for each in found if each[0] in SERIOUS], found


def test_axe_finds_what_is_wrong(tmp_path):
    """The way of asking works: an image without a text, and grey on white."""
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><title>t</title></head><body><main><h1>t</h1><img src="data:,">'
        '<p style="color: #aaa; background: #fff">too pale</p></main></body></html>'
    )
    assert {rule for _, rule, _ in violations(page, 1280, "light", tmp_path)} >= {"image-alt", "color-contrast"}
