"""`resume=FOLDER`: compose again what that run was composed of; and keep new runs out of folders that hold one."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from cnn.training.checkpoint import LAST
from foundation.errors import UserError

_METRICS = "metrics.json"  # written last: where it stands, the run is finished


def run_arguments(arguments: list[str]) -> list[str]:
    """The command line to give to Hydra: `arguments`, or for `resume=FOLDER` that run's recorded overrides and those.

    It looks before Hydra does, which would write the new options over the record of the run in that folder. Raises
    `UserError` if FOLDER is no run, has no checkpoint or is finished, and if a new run's folder already holds a run.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    folder = given.get("resume", "").strip("'\"")
    if folder in ("", "null"):
        target = Path(given.get("hydra.run.dir", "").strip("'\""))
        if given.get("hydra.run.dir") and any((target / name).exists() for name in (LAST, _METRICS)):
            raise UserError(f"hydra.run.dir={target} holds a run already: choose another folder, or resume={target}")
        return arguments
    run = Path(folder)
    recorded = run / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise UserError(f"resume={folder}: there is no run in this folder ({recorded} is missing)")
    if (run / _METRICS).exists():
        raise UserError(
            f"{folder} is finished and its test split is scored: nothing is left to resume, start a new run"
        )
    if not (run / LAST).exists():
        raise UserError(f"resume={folder}: the run stopped before its first checkpoint; start it anew")
    replaced = {*given, "hydra.run.dir"}
    earlier = [str(override) for override in OmegaConf.load(recorded)]
    kept = [override for override in earlier if override.partition("=")[0] not in replaced]
    own = [argument for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    # No output_subdir: the record of what the run was begun with stays as it is.
    return [*kept, *own, f"resume='{folder}'", f"hydra.run.dir='{folder}'", "hydra.output_subdir=null"]
