"""`python -m benchmarks.ablation --folder FOLDER [OPTION=VALUE ...]`: what each part of a recipe brings.

Trains `experiment=fer_quick` with the given options, and once for each part without it (or with it, where the recipe
leaves it out), over the same seeds. All runs are jobs of one sweep, so the command goes on where it was interrupted.
The table has the validation accuracy of each change and its difference from the recipe, paired by seed, with Student's
t interval. The test split is not looked at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cnn.reporting.comparison import SeedDifference
from cnn.reporting.leaderboard_table import mean_of
from cnn.reporting.sweeps import Entry, options_of, read_entries
from cnn.sweeping.grid import combinations
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
    "with random crops": ("augment.crop=0.7",),
    "with mixup and CutMix in a quarter of the steps": (
        "augment.mixup=0.4",
        "augment.cutmix=1.0",
        "augment.mix_probability=0.25",
    ),
    "with lookahead": ("trainer.lookahead=6",),
}


def recorded(options: Sequence[str]) -> dict[str, str]:
    """The options as a sweep records them in the folder of a job: `false` as `False`, `1e-2` as `0.01`.

    Raises `UserError` if Hydra cannot read them, or if they are those of several jobs.
    """
    try:
        jobs = combinations(OverridesParser.create().parse_overrides(list(options)))
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from None
    if len(jobs) > 1:
        raise UserError("each option needs one value: all changes are compared with one recipe")
    return options_of(jobs[0])


def entry_of(entries: Sequence[Entry], wanted: Mapping[str, str]) -> Entry | None:
    """The configuration of these options, as `recorded` gives them; None if it has no finished run."""
    overrides = dict(wanted)
    model = overrides.pop("model", None)
    return next((e for e in entries if e.runs and e.overrides == overrides and model in (None, e.model)), None)


def table(found: Mapping[str, Entry | None]) -> str:
    """Markdown rows of the changes, the first of which is the recipe; only seeds that both have are compared.

    Raises `UserError` if the recipe has no finished runs.
    """
    recipe = found[RECIPE]
    if recipe is None:
        raise UserError("no run of the recipe has finished")
    rows = [
        "| | seeds | validation accuracy | difference, points | 95 % interval |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, entry in found.items():
        if entry is None:
            continue
        both = [seed for seed in entry.runs if seed in recipe.runs]
        apart = ["", ""]
        if entry is not recipe and len(both) > 1:
            one, base = ({int(seed): each.runs[seed]["val_accuracy"] for seed in both} for each in (entry, recipe))
            difference = SeedDifference.of(one, base)
            low, high = (100 * end for end in difference.interval)
            apart = [f"{100 * difference.value:+.2f}", f"{low:+.2f} to {high:+.2f}"]
        rows.append(f"| {name} | {len(entry.runs)} | {mean_of(entry, 'val_accuracy')} | {apart[0]} | {apart[1]} |")
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
        wanted = {name: recorded([*common, *CHANGES[name]]) for name in names}
        if not chosen.table_only:
            train = [sys.executable, "-m", "cnn.train", "-m"]
            train += [f"seed={chosen.seeds}", f"hydra.sweep.dir={chosen.folder}", *common]
            for name in names:
                print(name, flush=True)
                if status := subprocess.run([*train, *CHANGES[name]], check=False).returncode:
                    return status
        entries = read_entries(chosen.folder)
        found = table({name: entry_of(entries, options) for name, options in wanted.items()})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found, end="")
    if chosen.out:
        write_text(chosen.out, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
