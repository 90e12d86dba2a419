"""`python -m cnn.sweeping.job_process FOLDER ARGUMENTS`: one job of a sweep; see `cnn.sweeping.processes`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from cnn.sweeping.parent import end_with_parent

COMMAND = "cnn.train"


def main() -> None:
    """Run the job, unless another process does that or has done it meanwhile."""
    end_with_parent(sys.stdin.fileno())  # before the imports, which take seconds on a busy machine
    from cnn.reporting.sweeps import state_of  # noqa: PLC0415
    from cnn.sweeping.jobs import DONE, for_resuming  # noqa: PLC0415
    from cnn.training.checkpoint import LAST  # noqa: PLC0415
    from foundation.command_line import quote  # noqa: PLC0415
    from foundation.files import locked  # noqa: PLC0415

    folder = Path(sys.argv[1])
    with locked(folder / ".job.lock", lambda: print("waiting for another process, which runs this job")):
        if state_of(folder) in DONE:
            return
        begun = (folder / LAST).exists()
        arguments = for_resuming(sys.argv[2:]) if begun else sys.argv[2:]
        place = f"{'resume' if begun else 'hydra.run.dir'}={quote(str(folder))}"
        # By its name: the command imports what this package offers.
        command = importlib.import_module(COMMAND)
        sys.argv = [COMMAND, *arguments, place]
        command.main()


if __name__ == "__main__":
    main()
