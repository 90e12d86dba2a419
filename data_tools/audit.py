"""`python -m data_tools.audit data=fer2013_fed`: count what is in the sources and what the merge keeps."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from data_tools.auditing.findings import examine
from data_tools.auditing.report import write_audit
from data_tools.config import GROUPS, leaks, load
from data_tools.detection import fill_in
from data_tools.packs.tables import console, show_leaks, show_levels, show_not_looked_for
from data_tools.preparation import collect_and_merge, decoded_stores, open_sources
from data_tools.progress import bar
from foundation.entry import entry


def audit(config: DictConfig, folder: Path) -> Path:
    """Write `audit.json` and `audit.html` to `folder`, and return the path of the latter.

    Raises `UserError` for bad options and unusable data. Images that an interrupted call has decoded are not decoded
    again.
    """
    fill_in(config)
    data, policy = load(config)
    sources = open_sources(data)
    with bar("looking at the sources"):
        fingerprints = {source.name: source.fingerprint() for source in sources}
    with decoded_stores(data, policy, fingerprints) as stores:
        prepared = collect_and_merge(sources, data, policy, stores)
        with bar("counting duplicates and overlaps"):
            findings = examine(prepared, data, policy)
        with bar("writing the audit"):
            write_audit(folder, prepared, findings)
    out = console()
    show_levels(out, findings.numbers["levels"])
    show_not_looked_for(out, findings.numbers["not_looked_for"])
    show_leaks(out, findings.numbers["twins"], leaks(policy))
    path = folder / "audit.html"
    out.print(f"audit {path}", highlight=False, markup=False, soft_wrap=True)
    return path


@entry("audit", GROUPS)
def main(config: DictConfig) -> None:
    """Write the audit into Hydra's run folder."""
    audit(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
