"""What sources that are a container have in common, and one pass over its members."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from data_tools.sources.base import Fingerprint
from data_tools.sources.containers import Container, Member, TarArchive


class Contained:
    """A source that is a folder, an archive or a file: a subclass has `entries`."""

    def __init__(self, name: str, container: Container) -> None:
        self.name = name
        self.ignored = 0
        self._container = container

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the folder, archive or file."""
        return self._container.fingerprint()

    def expected(self) -> int | None:
        """None: the entries are counted only by reading them."""
        return None


def surveyed(container: Container, wanted: Callable[[str], bool], most: int) -> Iterator[Member]:
    """The members; those whose path is `wanted` can be opened at any time.

    Of a tar, which is read strictly forwards, their content is kept for that, at most `most` + 1 bytes of each.
    """
    for member in container.members():
        if not (isinstance(container, TarArchive) and member.open is not None and wanted(member.path)):
            yield member
            continue
        with member.open() as stream:
            content = stream.read(most + 1)
        yield replace(member, open=partial(io.BytesIO, content))
