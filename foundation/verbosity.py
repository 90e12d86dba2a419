"""`hydra.verbose=true`: a command also prints the details that its modules log at level DEBUG.

Modules write details by `logging.getLogger("cnn....").debug(...)`. Those of other libraries stay silent, unless
`hydra.verbose` names their logger: Numba alone would print a million lines.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

OWN = ("cnn", "data_tools", "foundation", "benchmarks", "hydra_plugins")


class _Printed(logging.Handler):
    """Prints each record to the standard output of that moment, so that a run's log gets it too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            print(f"[{record.name}] {self.format(record)}")
        except Exception:
            self.handleError(record)


_handler = _Printed()


def show_details(verbose: bool | str | Sequence[str]) -> None:
    """Print the details of the project's own packages (True), of the named loggers, or none (False)."""
    names = (
        (OWN if verbose else ()) if isinstance(verbose, bool) else [verbose] if isinstance(verbose, str) else verbose
    )
    logging.getLogger().setLevel(logging.WARNING)  # Hydra has set DEBUG, at which other libraries become slow
    for name in (*OWN, *names):
        logger = logging.getLogger(name)
        logger.removeHandler(_handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    for name in names:
        logger = logging.getLogger(name)
        logger.addHandler(_handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # Hydra's own handler, at the root, would print it a second time
