"""What the site needs beyond Markdown: README.md as the first page, every page in the navigation, links to code.

The pages link to files of the repository, which the site does not have. Such a link becomes the file's name if the file
is there, and a warning, which ends the strict build, if it is not.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
log = logging.getLogger("mkdocs.hooks.links")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages that the navigation does not name: those of benchmarks/ to the results, the others under "More"."""
    docs = Path(config.docs_dir)
    named = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    others = sorted(str(path.relative_to(docs).as_posix()) for path in docs.rglob("*.md"))
    others = [name for name in others if name not in named]
    assert config.nav is not None
    measured = [name for name in others if name.startswith("benchmarks/")]
    config.nav[-1]["Results"].extend(measured)
    if more := [name for name in others if name not in measured]:
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as the first page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(\]\()docs/", r"\1", text)
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into names."""
    base = ROOT if page.file.src_uri == "index.md" else (Path(config.docs_dir) / page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        if re.match(r"[a-z]+:", target) or files.get_file_from_path(_below(target, page)) is not None:
            return link[0]
        path = (base / target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, target)
        return text if text.startswith("`") else f"{text} (`{path.relative_to(ROOT).as_posix()}`)"

    return LINK.sub(named, markdown)


def _below(target: str, page: Page) -> str:
    """A relative link of a page as a path below docs/."""
    parts: list[str] = []
    for part in (Path(page.file.src_uri).parent / target).parts:
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
