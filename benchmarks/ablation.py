"""`python -m benchmarks.ablation --folder FOLDER [OPTION=VALUE ...]`: what each part of a recipe brings.

Trains `experiment=fer_quick` with the given options, and once for each part without it (or with it, where the recipe
leaves it out), over the same seeds. All runs are jobs of one sweep, so the command goes on where it was interrupted.
The table has the validation accuracy of each change and its difference from the recipe, paired by seed, with Student's
t interval. The test split is not looked at.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnn.reporting.comparison import SeedDifference
from cnn.reporting.sweeps import Entry, options_of, read_entries
from foundation.errors import UserError
from foundation.files import write_text

RECIPE = "the recipe"
CHANGES: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    "without mirrored images": ("augment.flip=false",),
    "without shifts": ("augment.shift=0",),
    "without rotation and zoom": ("augment.rotate=0", "augment.zoom=0"),
    "without brightness and contrast": ("augment.brightness=0", "augment.contrast=0"),
    "without dropout": ("model.dropout=0",),
    "without label smoothing": ("trainer.label_smoothing=0",),
    "without weight decay": ("optimizer.weight_decay=0",),
    "without the average of the weights": ("trainer.ema=null",),
    "with constant momentum": ("schedule.base_momentum=null",),
    "with erasing": ("augment.erase=0.25",),
    "with mixup and CutMix in a quarter of the steps": (
        "augment.mixup=0.4",
        "augment.cutmix=1.0",
        "augment.mix_probability=0.25",
    ),
    "with lookahead": ("trainer.lookahead=6",),
}


def scores_of(entries: Sequence[Entry], options: Sequence[str]) -> dict[int, float]:
    """Validation accuracy by seed of the configuration that these options make, empty if it has no finished run."""
    wanted = _plain(options_of(options))
    model = wanted.pop("model", None)
    for entry in entries:
        if _plain(entry.overrides) == wanted and model in (None, entry.model):
            return {int(seed): float(metrics["val_accuracy"]) for seed, metrics in entry.runs.items()}
    return {}


def _plain(options: Mapping[str, str]) -> dict[str, str]:
    """With truth values in small letters: a sweep writes `false` as `False`."""
    return {key: value.lower() if value.lower() in ("true", "false") else value for key, value in options.items()}


def table(scores: Mapping[str, Mapping[int, float]]) -> str:
    """Markdown rows of the changes, the first of which is the recipe; only seeds that both have are compared.

    Raises `UserError` if the recipe has no finished runs.
    """
    base = scores[RECIPE]
    if not base:
        raise UserError("no run of the recipe has finished")
    rows = [
        "| | seeds | validation accuracy | difference, points | 95 % interval |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, found in scores.items():
        if not found:
            continue
        mean = f"{statistics.fmean(found.values()):.4f}"
        spread = f" ± {statistics.stdev(found.values()):.4f}" if len(found) > 1 else ""
        both = sorted(set(found) & set(base))
        apart = ["", ""]
        if name != RECIPE and len(both) > 1:
            difference = SeedDifference.of({s: found[s] for s in both}, {s: base[s] for s in both})
            low, high = (100 * end for end in difference.interval)
            apart = [f"{100 * difference.value:+.2f}", f"{low:+.2f} to {high:+.2f}"]
        rows.append(f"| {name} | {len(found)} | {mean}{spread} | {apart[0]} | {apart[1]} |")
    return "\n".join(rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not run, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the sweep")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", action="append", choices=CHANGES, metavar="CHANGE", help="a change to run; all")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    parser.add_argument("--table-only", action="store_true", help="of the runs that have finished; start none")
    chosen, options = parser.parse_known_args(arguments)
    try:
        if wrong := [option for option in options if option.startswith("-") or "=" not in option]:
            raise UserError(f"{wrong[0]} is neither an option of this command nor KEY=VALUE for the runs")
        common = ["experiment=fer_quick", *options]
        names = [name for name in CHANGES if name == RECIPE or not chosen.only or name in chosen.only]
        if not chosen.table_only:
            train = [sys.executable, "-m", "cnn.train", "-m"]
            train += [f"seed={chosen.seeds}", f"hydra.sweep.dir={chosen.folder}", *common]
            for name in names:
                print(name, flush=True)
                if status := subprocess.run([*train, *CHANGES[name]], check=False).returncode:
                    return status
        entries = read_entries(chosen.folder)
        found = table({name: scores_of(entries, [*common, *CHANGES[name]]) for name in names})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found, end="")
    if chosen.out:
        write_text(chosen.out, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
