"""`python -m data_tools.audit path=pets/`, or `data=fer2013_fed`: find duplicates, leaks, conflicts, damaged files.

With `path` any folder, archive or table is audited as it is, with or without labels; nothing has to be configured. With
`data` the sources of a data set are audited before and after its merge.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from data_tools.auditing.anything import Subject, subject_of
from data_tools.auditing.checks import NAMES, NEVER, failed, verdict
from data_tools.auditing.findings import examine
from data_tools.auditing.keep import write_keep
from data_tools.auditing.report import write_audit
from data_tools.config import GROUPS, leaks, load
from data_tools.detection import fill_in
from data_tools.packs.tables import console, show_leaks, show_levels, show_not_looked_for
from data_tools.preparation import collect_and_merge, decoded_stores, open_sources
from data_tools.progress import bar
from foundation.command_line import quote
from foundation.entry import entry
from foundation.errors import UserError


def audit(config: DictConfig, folder: Path) -> Path:
    """Write `audit.html`, `audit.json` and `keep.csv` to `folder`, and return the path of the first.

    Raises `UserError` for bad options and unusable data. Images that an interrupted call has decoded are not decoded
    again.
    """
    run(config, folder)
    return folder / "audit.html"


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """As `audit`; returns the content of `audit.json`."""
    if config.get("path") is None:
        fill_in(config)
        data, policy = load(config)
        subject = Subject(data, policy, open_sources(data), merged=True)
    else:
        subject = subject_of(_paths(config.path), config)
        for line in subject.lines:
            print(line)
    data, policy, sources = subject.data, subject.policy, subject.sources
    with bar("looking at the sources"):
        fingerprints = {source.name: source.fingerprint() for source in sources}
    with decoded_stores(data, policy, fingerprints) as stores:
        prepared = collect_and_merge(sources, data, policy, stores, subject.merged)
        with bar("counting duplicates and overlaps"):
            findings = examine(prepared, data, policy, subject.merged)
        with bar("writing the audit"):
            write_audit(folder, prepared, findings)
        write_keep(folder / "keep.csv", prepared.collection.rows)
    numbers, out = findings.numbers, console()
    show_levels(out, numbers["levels"])
    show_not_looked_for(out, numbers["not_looked_for"])
    if subject.merged:
        show_leaks(out, numbers["twins"], leaks(policy))
    out.print(verdict(numbers), highlight=False, markup=False, soft_wrap=True)
    for name in ("audit.html", "audit.json", "keep.csv"):
        out.print(f"{name.partition('.')[0]} {folder / name}", highlight=False, markup=False, soft_wrap=True)
    return numbers


def arguments(given: Sequence[str]) -> list[str]:
    """The command line for Hydra: several `path=...` become a list, and paths may have any character.

    Raises `UserError` for an option that would not be used.
    """
    paths = [argument.partition("=")[2] for argument in given if argument.startswith("path=")]
    for argument in given:
        name = re.split(r"[=.]", argument.lstrip("+~"), maxsplit=1)[0]
        if paths and name in ("data", "merge") and not re.match(r"\+*merge\.twins[.=]", argument):
            raise UserError(
                f"{argument} is not used with path=...: of merge only merge.twins is, and no option of data"
            )
        if not paths and name == "duplicates":
            raise UserError(f"{argument} is for path=...; with data=... write data.audit or merge.{argument}")
    others = [argument for argument in given if not argument.startswith("path=")]
    # A value with a comma and without brackets would be a sweep.
    others = [re.sub(r"^fail_on=([\w,| ]+)$", lambda found: f"fail_on=[{_commas(found[1])}]", each) for each in others]
    if len(paths) == 1 and re.fullmatch(r"\[.*\]|null", paths[0]) and not Path(paths[0]).exists():
        return [*others, f"path={paths[0]}"]
    return [*others, f"path=[{','.join(map(_quoted, paths))}]"] if paths else others


def _commas(names: str) -> str:
    return ",".join(filter(None, re.split(r"[,| ]+", names)))


def _quoted(path: str) -> str:
    """The path as Hydra reads it as text, without quotes that the person has put around it."""
    return quote(path.strip("'\"") if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"" else path)


def _paths(given: Any) -> list[Path]:
    listed = OmegaConf.to_container(given) if OmegaConf.is_list(given) else [given]
    assert isinstance(listed, list)
    if not listed:
        raise UserError("path: the list is empty; give path=FOLDER, an archive or a table")
    return [Path(str(path)).expanduser() for path in listed]


def _fail_on(config: DictConfig) -> list[str]:
    """The checks that `fail_on` names. Raises `UserError` for an unknown one."""
    given = config.get("fail_on", NEVER)
    names = [str(name) for name in given] if OmegaConf.is_list(given) else [str(given)]
    for name in names:
        if name not in (*NAMES, NEVER):
            raise UserError(f"fail_on: there is no check '{name}'; choose from {', '.join((NEVER, *NAMES))}")
    return [name for name in names if name != NEVER]


@entry("audit", GROUPS, rewrite=arguments)
def main(config: DictConfig) -> None:
    """Write the audit into Hydra's run folder; exit with status 1 if a check of `fail_on` found something."""
    fail_on = _fail_on(config)
    numbers = run(config, Path(HydraConfig.get().runtime.output_dir))
    if found := failed(numbers, fail_on):
        for check in found:
            print(f"fail_on={check.name}: {check.count:,} {check.unit}")
        sys.exit(1)


if __name__ == "__main__":
    main()
