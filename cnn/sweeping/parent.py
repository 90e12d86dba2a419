"""A job ends with the process that started it, however that ends.

The starter holds one end of a pipe, the job reads from the other. When the starter is gone, the system closes its end:
the job then stops as at SIGTERM, after its last complete epoch, and whoever starts the sweep again goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_GRACE = 30.0  # seconds for the job to stop


def end_with_parent(pipe: int) -> None:
    """From now on this process ends when the other end of the pipe, a file descriptor, is closed."""

    def watch() -> None:
        while os.read(pipe, 1):  # not by a Python file, whose lock would still be held at the end of the process
            pass
        print("the process that started this job has ended", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
