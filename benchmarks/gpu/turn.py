"""What every stage gets: the folder for its files, the time that it has, and what its files say of the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnn.reporting.provenance import collect_provenance
from foundation.errors import UserError
from foundation.files import read_json


@dataclass
class Turn:
    """One stage's part of the time on the machine."""

    out: Path
    seconds: float
    command: str
    quick: bool = False  # small sizes, for a rehearsal
    data: Path | None = None  # a pack
    recipe: str = "baseline_tuned"  # of conf/experiment
    seeds: tuple[int, ...] = (0,)  # of the recipe's runs
    tests: tuple[str, ...] = ()  # arguments of pytest
    variants: Path | None = None  # of the recipe: a JSON file
    variant: str | None = None  # the one of them that is trained as the recipe
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self.begun)

    def read_variants(self) -> dict[str, Any]:
        """The options of each variant. Raises `UserError` for a file that is no mapping."""
        found = {} if self.variants is None else read_json(self.variants)
        if not isinstance(found, dict):
            raise UserError(f"{self.variants} is not a mapping of names to options")
        return found

    def facts(self, **more: Any) -> dict[str, Any]:
        """Date, command, versions, machine, in types of JSON."""
        return {"command": self.command, "provenance": collect_provenance(), **more}


def header(title: str, facts: Mapping[str, Any]) -> list[str]:
    """The first lines of a Markdown file of a stage."""
    provenance = facts["provenance"]
    git = provenance.get("git") or {}
    revision = f"{git.get('revision', 'unknown')}{' and changes' if git.get('dirty') else ''}"
    lines = [
        f"# {title}",
        "",
        f"- {provenance['started']}, revision {revision}",
        f"- `{facts['command']}`",
    ]
    for key in ("device", "torch"):
        if key in facts:
            lines.append(f"- {listed(facts[key])}")
    return [*lines, f"- {listed(provenance['versions'])}", ""]


def listed(facts: Mapping[str, Any]) -> str:
    """`name value` of what is known, in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
