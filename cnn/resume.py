"""`resume=FOLDER`: compose again what that run was composed of, in its own folder."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from foundation.errors import UserError


def resume_arguments(arguments: list[str]) -> list[str]:
    """The command line that goes on with a run: its recorded overrides, then those of `arguments`.

    Without `resume=FOLDER` among them, `arguments` come back as they are. Raises `UserError` if FOLDER is no run.
    """
    folder = next((argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")), "")
    if folder in ("", "null"):
        return arguments
    recorded = Path(folder) / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise UserError(f"resume={folder}: there is no run in this folder ({recorded} is missing)")
    given = [argument for argument in arguments if not argument.startswith("resume=")]
    replaced = {argument.partition("=")[0] for argument in given}
    earlier = [str(override) for override in OmegaConf.load(recorded)]
    kept = [o for o in earlier if o.partition("=")[0] not in {*replaced, "resume", "hydra.run.dir"}]
    return [*kept, *given, f"resume='{folder}'", f"hydra.run.dir='{folder}'"]
