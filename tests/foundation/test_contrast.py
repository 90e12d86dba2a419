"""Every pair of colours that meets on a page, in light and in dark mode, by the formula of WCAG 2.2."""

import re

import pytest

from foundation.pages import SHARED

TEXT, GRAPHIC = 4.5, 3.0
# Foreground, background, least ratio. `heat 100` is the strongest cell of a confusion matrix; weaker ones lie between
# it and the panel.
PAIRS = [
    *((text, back, TEXT) for text in ("ink", "quiet", "blue", "orange") for back in ("paper", "panel")),
    ("ink", "heat", TEXT),
    *((mark, back, GRAPHIC) for mark in ("blue", "orange", "grey") for back in ("paper", "panel")),
    ("bad", "bad-paper", TEXT),
    ("good", "good-paper", TEXT),
    ("bad", "paper", TEXT),
    ("good", "paper", TEXT),
]


def colours(mode):
    """The variables of the page's style in one mode."""
    text = (SHARED / "colours.css").read_text(encoding="utf-8")
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    of = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in (light, dark)]
    assert of[0].keys() == of[1].keys()
    return of[mode == "dark"]


def luminance(colour):
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # WCAG's own example of too little


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), PAIRS, ids=str)
def test_colours_that_meet_can_be_told_apart(mode, front, back, least):
    known = colours(mode)
    assert contrast(known[front], known[back]) >= least


def test_no_page_has_a_colour_of_its_own():
    """A template takes its colours from the shared variables, whose pairs are tested above."""
    root = SHARED.parents[1]
    packages = [root / name for name in ("cnn", "data_tools", "foundation")]
    pages = [page for each in packages for kind in ("j2", "css") for page in each.glob(f"**/templates/*.{kind}")]
    assert len(pages) >= 6
    for page in pages:
        if page.name == "colours.css":
            continue
        own = re.findall(r"#(?:[0-9a-fA-F]{3}){1,2}\b", re.sub(r"&#\d+;", "", page.read_text(encoding="utf-8")))
        assert not own, f"{page.name}: {own}"
