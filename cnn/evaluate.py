"""`python -m cnn.evaluate run=FOLDER`: score a run's best epoch, or the average of several runs, on one split."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups, require_int, views_of
from cnn.reporting.calibration import Reliability, apply_temperature, fit_temperature
from cnn.reporting.intervals import Interval, Mean, accuracy, bootstrap_interval, macro_f1, mean_interval
from cnn.reporting.metrics import Scores, compute_scores
from cnn.reporting.reliability_plot import describe_reliability, plot_reliability
from cnn.scored_runs import ScoredRun, ScoringSettings, difference_of_recipes, folders_of, score_runs, split_of
from foundation.entry import entry
from foundation.files import write_json
from foundation.screen import screen

Probabilities = dict[str, NDArray[Any]]  # split -> (n, classes)


@dataclass
class EvaluateSettings(ScoringSettings):
    """The options outside the groups."""

    calibrate: bool = False
    bootstrap: int = 2000
    out: str | None = None


@entry("evaluate", groups("backend", top=EvaluateSettings))
def main(config: DictConfig) -> None:
    """Print the scores, and write them to `evaluation_<split>.json`, of several runs to `ensemble_<split>.json`."""
    split, views, resamples = split_of(config), views_of(config), require_int(config, "bootstrap", 0)
    splits = dict.fromkeys([split, *(["validation"] if config.calibrate else [])])
    runs = score_runs(config, folders_of(config, "run"), list(splits))
    first = runs[0]
    probabilities = {name: average([run.probabilities[name] for run in runs]) for name in splits}
    scores = compute_scores(first.labels[split], probabilities[split], first.classes)
    result: dict[str, Any] = {"split": split, **scores.as_dict(), **asdict(views)}
    intervals = {}
    if resamples:
        for name, statistic in (("accuracy", accuracy), ("macro_f1", macro_f1)):
            intervals[name] = bootstrap_interval(scores.confusion, statistic, resamples)
        result["bootstrap"] = {"resamples": resamples, **{name: list(ends) for name, ends in intervals.items()}}
    out = first.folder if config.out is None else Path(config.out)
    stem = f"{'evaluation' if len(runs) == 1 else 'ensemble'}_{split}{views.suffix}"
    title = f"{escape(first.model)}, epoch {first.epoch}" if len(runs) == 1 else f"average of {len(runs)} runs"
    seen = "" if views.tta == "none" else f", tta={views.tta}"
    lines = []
    if len(runs) > 1:
        lines += _add_runs(result, runs, split, seen)
    screen().print(scores_table(scores, f"{title}, {split} split{seen}", intervals.get("macro_f1")))
    try:
        if config.calibrate:
            lines.append(_add_calibration(result, first.labels, probabilities, split, out / f"{stem}_reliability.png"))
        write_json(out / f"{stem}.json", result)
    except OSError as error:
        if config.out is not None or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        lines.append(f"Not written, because {out} cannot be written to: give out=FOLDER.")
    for line in lines:
        print(line)
    if split == "test":
        print("A test score is for reporting, once. Choose runs, tta and all else by the validation split.")
    elif seen or len(runs) > 1:
        print(f"Scored on the {split} split. Choose on validation, and score the test split once, with that choice.")


def average(probabilities: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The mean of the probabilities (n, classes) of several networks, in float64; of one network its own, unchanged.

    An ensemble, as in Lakshminarayanan et al. 2017 (Simple and scalable predictive uncertainty estimation), equation 3.
    """
    return probabilities[0] if len(probabilities) == 1 else np.asarray(np.mean(probabilities, axis=0, dtype=np.float64))


def scores_table(scores: Scores, title: str, f1_interval: Interval | None = None) -> Table:
    """The scores of each class, with the overall scores in the caption."""
    low, high = scores.accuracy_interval
    f1 = "" if f1_interval is None else f", 95 % interval {f1_interval[0]:.4f} to {f1_interval[1]:.4f}"
    table = Table(
        "class",
        title=title,
        title_justify="left",
        caption=f"accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"macro F1 {scores.macro_f1:.4f} ({scores.macro_f1_of}{f1}), log loss {scores.log_loss:.4f}",
        caption_justify="left",
    )
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for name, row in scores.per_class.items():
        figures = [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
        table.add_row(Text(name), *figures, f"{row['support']:,}")
    return table


def _add_runs(result: dict[str, Any], runs: Sequence[ScoredRun], split: str, seen: str) -> list[str]:
    """Add each run's own scores, and their mean if only seeds differ. Prints the table of runs; returns the lines."""
    table = Table("run", title=f"single runs, {split} split{seen}", title_justify="left")
    for heading in ("seed", "epoch", "accuracy", "macro F1", "log loss"):
        table.add_column(heading, justify="right")
    scores = [compute_scores(run.labels[split], run.probabilities[split], run.classes) for run in runs]
    for run, own in zip(runs, scores, strict=True):
        figures = (f"{each:.4f}" for each in (own.accuracy, own.macro_f1, own.log_loss))
        table.add_row(Text(str(run.folder)), str(run.seed), str(run.epoch), *figures)
    result["runs"] = [
        {
            "run": str(run.folder),
            "seed": run.seed,
            "epoch": run.epoch,
            "accuracy": own.accuracy,
            "macro_f1": own.macro_f1,
            "log_loss": own.log_loss,
        }
        for run, own in zip(runs, scores, strict=True)
    ]
    screen().print(table)
    if (other := difference_of_recipes(runs)) is not None:
        return [f"No mean over seeds, because the runs differ in more: {other}."]
    if len({run.seed for run in runs}) < len(runs):
        return ["No mean over seeds, because two of the runs have one seed."]
    mean, f1 = (mean_interval([getattr(own, name) for own in scores]) for name in ("accuracy", "macro_f1"))
    result["over_seeds"] = {"accuracy": mean.as_dict(), "macro_f1": f1.as_dict()}
    return [f"Mean over {len(runs)} seeds: accuracy {_in_words(mean)}, macro F1 {_in_words(f1)}."]


def _in_words(mean: Mean) -> str:
    low, high = mean.interval
    return f"{mean.value:.4f} ± {mean.deviation:.4f} (95 % t interval of the mean {low:.4f} to {high:.4f})"


def _add_calibration(
    result: dict[str, Any], labels: dict[str, NDArray[np.int64]], probabilities: Probabilities, split: str, figure: Path
) -> str:
    """Fit the temperature on validation, add the calibration of `split` with it, and draw the figure."""
    temperature = fit_temperature(labels["validation"], probabilities["validation"])
    before = Reliability.of(labels[split], probabilities[split])
    after = Reliability.of(labels[split], apply_temperature(probabilities[split], temperature))
    plot_reliability(before, after, figure)
    result["calibration"] = {
        "temperature": temperature,
        "fitted_on": "validation",
        "fitted_images": len(labels["validation"]),
        "before": before.as_dict(),
        "after": after.as_dict(),
        "figure": {"file": figure.name, "alt": describe_reliability(before, after, temperature)},
    }
    where = "these images" if split == "validation" else f"the validation split, and used on the {split} split"
    return (
        f"Temperature {temperature:.3f}, fitted on {where}: calibration error (ECE) {before.error:.4f} before, "
        f"{after.error:.4f} after; log loss {before.log_loss:.4f} before, {after.log_loss:.4f} after. Figure: {figure}"
    )


if __name__ == "__main__":
    main()
