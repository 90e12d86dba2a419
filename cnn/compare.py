"""`python -m cnn.compare run=[A,B]`: two runs on the same images; `run=[A1,A2] against=[B1,B2]`: recipes over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups
from cnn.reporting.comparison import PairedCounts, SeedDifference
from cnn.reporting.comparison_page import (
    Differing,
    Side,
    class_differences,
    class_differences_of_seeds,
    render_comparison,
)
from cnn.reporting.metrics_csv import is_number, read_history
from cnn.reporting.pictures import image_uri
from cnn.scored_runs import (
    ScoredRun,
    ScoringSettings,
    difference_of_recipes,
    differing_options,
    folders_of,
    score_runs,
    split_of,
)
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import write_json, write_text
from foundation.screen import screen

_SHOWN = 12  # images on the page for each side


@dataclass
class CompareSettings(ScoringSettings):
    """The options outside the groups."""

    against: str | list[str] | None = None
    json: str | None = None
    page: str | None = "comparison.html"
    images: bool = True


@entry("compare", groups("backend", top=CompareSettings))
def main(config: DictConfig) -> None:
    """Print the comparison, and write it to the files that `page` and `json` name."""
    split = split_of(config)
    one, two = folders_of(config, "run"), folders_of(config, "against")
    if not two and len(one) == 2:
        one, two = one[:1], one[1:]
    if not two or (len(one) == 1) != (len(two) == 1):
        raise UserError(
            "compare two runs by run=[A,B], or two recipes over seeds by run=[A1,A2,...] against=[B1,B2,...]"
        )
    if both := {folder.resolve() for folder in one} & {folder.resolve() for folder in two}:
        raise UserError(f"{min(both)} is on both sides of the comparison")
    runs = score_runs(config, [*one, *two], [split])
    a, b = runs[: len(one)], runs[len(one) :]
    result = _compare_runs(a[0], b[0], split) if len(one) == 1 else _compare_recipes(a, b, split)
    if config.page is not None:
        page = Path(config.page)
        write_text(page, _page(a, b, split, result, bool(config.images)))
        print(f"page: {os.path.relpath(page)}")
    if config.json is not None:
        write_json(Path(config.json), {"split": split, "tta": config.tta, **result})
    if split == "test":
        print("A test score is for reporting, once. Choose between runs and recipes by the validation split.")


def _right(run: ScoredRun, split: str) -> Any:
    """Whether each prediction is right, (n,) bool."""
    return run.probabilities[split].argmax(axis=1) == run.labels[split]


def _compare_runs(a: ScoredRun, b: ScoredRun, split: str) -> dict[str, Any]:
    """Print the table of right and wrong, the difference and the test; return them."""
    right_a, right_b = _right(a, split), _right(b, split)
    counts = PairedCounts.of(right_a, right_b)
    print(f"A: {a.folder} ({a.model}, epoch {a.epoch}), accuracy {right_a.mean():.4f}")
    print(f"B: {b.folder} ({b.model}, epoch {b.epoch}), accuracy {right_b.mean():.4f}")
    table = Table("", "B right", "B wrong", title=f"images of the {split} split", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("A right", f"{counts.both:,}", f"{counts.only_a:,}")
    table.add_row("A wrong", f"{counts.only_b:,}", f"{counts.neither:,}")
    screen().print(table)
    low, high = counts.interval()
    print(f"A - B: {counts.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    print(f"McNemar's exact test: p = {counts.p_value():.4g}")
    return {
        "a": _described(a, split),
        "b": _described(b, split),
        **counts.as_dict(),
    }


def _compare_recipes(a: Sequence[ScoredRun], b: Sequence[ScoredRun], split: str) -> dict[str, Any]:
    """Print the accuracies by seed and the difference of their means; return them."""
    scores_a, scores_b = _by_seed(a, split, "run"), _by_seed(b, split, "against")
    found = SeedDifference.of(scores_a, scores_b)
    table = Table("seed", "A", "B", title=f"accuracy on the {split} split", title_justify="left")
    for seed in sorted({*scores_a, *scores_b}):
        table.add_row(Text(str(seed)), *(f"{own[seed]:.4f}" if seed in own else "" for own in (scores_a, scores_b)))
    for name, statistic in (("mean", np.mean), ("deviation", lambda values: np.std(values, ddof=1))):
        table.add_row(name, *(f"{statistic(list(own.values())):.4f}" for own in (scores_a, scores_b)))
    screen().print(table)
    low, high = found.interval
    kind = "paired by seed" if found.paired else "the seeds differ, so as independent groups (Welch)"
    print(f"A - B: {found.value:+.4f} (95 % t interval {low:+.4f} to {high:+.4f}; {kind})")
    return {
        "a": [_described(run, split) for run in a],
        "b": [_described(run, split) for run in b],
        "difference": found.value,
        "interval": list(found.interval),
        "paired": found.paired,
    }


def _page(a: Sequence[ScoredRun], b: Sequence[ScoredRun], split: str, result: dict[str, Any], images: bool) -> str:
    """The comparison as a page."""
    labels, classes = a[0].labels[split], a[0].classes
    low, high = result["interval"]
    lead = "A is better than B" if low > 0 else "B is better than A" if high < 0 else "A and B cannot be told apart"
    options = [row for row in differing_options(a[0], b[0]) if len(a) == 1 or row[0] != "seed"]
    sides = _side(a, split), _side(b, split)
    if len(a) == 1:
        verdict = [
            f"{lead}: the accuracy of A minus that of B is {result['difference']:+.4f}, with a 95 % interval from "
            f"{low:+.4f} to {high:+.4f}.",
            f"McNemar's exact test on the images that one alone has right: p = {result['p_value']:.4g}.",
        ]
        right = _right(a[0], split), _right(b[0], split)
        chosen, total = _differing(a[0], b[0], split, images)
        counts = PairedCounts.of(*right)
        by_class = class_differences(labels, *right, classes)
        return render_comparison(split, *sides, verdict, by_class, options, counts, chosen, total)
    kind = "paired by seed" if result["paired"] else "of independent groups, as the seeds differ (Welch)"
    verdict = [
        f"{lead}: the mean accuracy of A minus that of B is {result['difference']:+.4f}, with a 95 % t interval from "
        f"{low:+.4f} to {high:+.4f}, {kind}."
    ]
    seeds_a, seeds_b = ({run.seed: _right(run, split) for run in side} for side in (a, b))
    by_class = class_differences_of_seeds(labels, seeds_a, seeds_b, classes)
    return render_comparison(split, *sides, verdict, by_class, options)


def _side(runs: Sequence[ScoredRun], split: str) -> Side:
    return Side(
        names=[str(run.folder) for run in runs],
        model=runs[0].model,
        epochs=[run.epoch for run in runs],
        seeds=[run.seed for run in runs],
        accuracies=[float(_right(run, split).mean()) for run in runs],
        histories=[_history(run.folder) for run in runs],
    )


def _history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run; empty where they are not recorded, as by `Classifier.save`."""
    try:
        return [row for row in read_history(folder / "metrics.csv") if is_number(row.get("epoch"))]
    except UserError:
        return []


def _differing(a: ScoredRun, b: ScoredRun, split: str, images: bool) -> tuple[list[Differing], int]:
    """The images on which one alone is right and the probabilities of the label differ most, and how many differ."""
    labels, (one, two) = a.labels[split], (run.probabilities[split] for run in (a, b))
    own = np.arange(len(labels)), labels
    right = _right(a, split), _right(b, split)
    found = np.flatnonzero(right[0] != right[1])
    order = found[np.argsort(-np.abs(one[own] - two[own])[found], kind="stable")]
    chosen = np.concatenate([order[side[order]][:_SHOWN] for side in right]).astype(np.int64)
    try:
        names = a.names[split]
    except UserError:  # a pack without its manifest
        names = [f"image {number}" for number in range(len(labels))]
    pixels = a.images(split, chosen) if images else [None] * len(chosen)

    def answer(probabilities: Any) -> str:
        return f"{a.classes[probabilities.argmax()]} ({probabilities.max():.0%})"

    shown = [
        Differing(
            name=names[index],
            label=a.classes[labels[index]],
            a=answer(one[index]),
            b=answer(two[index]),
            right="A" if right[0][index] else "B",
            image="" if image is None else image_uri(image),
        )
        for index, image in zip(chosen.tolist(), pixels, strict=True)
    ]
    return shown, len(found)


def _by_seed(runs: Sequence[ScoredRun], split: str, key: str) -> dict[int, float]:
    """The accuracy of each seed of one recipe. Raises `UserError` for runs that are not seeds of one recipe."""
    if (other := difference_of_recipes(runs)) is not None:
        raise UserError(f"the runs of {key} are not seeds of one recipe: {other}")
    by_seed: dict[int, ScoredRun] = {}
    for run in runs:
        if (twin := by_seed.setdefault(run.seed, run)) is not run:
            raise UserError(f"{key}: {twin.folder} and {run.folder} both have seed {run.seed}, which counts once")
    return {seed: float(_right(run, split).mean()) for seed, run in by_seed.items()}


def _described(run: ScoredRun, split: str) -> dict[str, Any]:
    accuracy = float(_right(run, split).mean())
    return {"run": str(run.folder), "model": run.model, "epoch": run.epoch, "seed": run.seed, "accuracy": accuracy}


if __name__ == "__main__":
    main()
