"""From confirmed pairs to groups: connected components in which every member resembles the representative.

A chain of correct pairs, or one wrong pair among hundreds, could connect two different faces. So two groups are joined
only if their representatives, compared directly along the map that the chain implies, show the same photograph. A
pair whose images stay in different groups is `loose`: the merge still keeps its images out of different splits.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import numpy as np

from data_tools.duplicates.alignment import Affine, Aligner, after, inverse
from data_tools.duplicates.search import NearDuplicate


class Groups:
    """A partition of `number` images whose groups only grow; `representative[i]` names the group of image i."""

    def __init__(self, number: int) -> None:
        self.representative = list(range(number))
        self._members = [[image] for image in range(number)]
        self._map: list[Affine] = [np.eye(2, 3)] * number  # from coordinates of an image to those of its representative

    def join(self, pairs: Iterable[NearDuplicate], aligner: Aligner) -> list[int]:
        """Join the groups that the pairs connect, if `aligner` confirms their representatives; the representatives.

        The group with the most neighbours collects its members first. A group that does not resemble it stays apart
        and collects its own.
        """
        best: dict[tuple[int, int], NearDuplicate] = {}
        for pair in pairs:
            a, b = self.representative[pair.first], self.representative[pair.second]
            key = (min(a, b), max(a, b))
            if a != b and (key not in best or pair.detail > best[key].detail):
                best[key] = pair
        neighbours: dict[int, dict[int, NearDuplicate]] = defaultdict(dict)
        for (a, b), pair in best.items():
            neighbours[a][b] = neighbours[b][a] = pair
        left = set(neighbours)
        for start in sorted(neighbours, key=lambda name: (-len(neighbours[name]), name)):
            if start in left:
                left.discard(start)
                self._gather(start, neighbours, left, aligner)
        return self.representative

    def _gather(
        self, start: int, neighbours: dict[int, dict[int, NearDuplicate]], left: set[int], aligner: Aligner
    ) -> None:
        """Collect breadth first, so that each map is composed of as few maps as possible."""
        front = deque([start])
        while front:
            for other, pair in sorted(neighbours[front.popleft()].items()):
                if other not in left:
                    continue
                implied = self._implied(pair, other)
                if {pair.first, pair.second} != {start, other}:
                    match = aligner.confirm_from(start, other, implied)
                    if match is None:
                        continue
                    implied = match.affine
                left.discard(other)
                front.append(other)
                self._absorb(start, other, inverse(implied))

    def _implied(self, pair: NearDuplicate, other: int) -> Affine:
        """The map to `other` from the representative that the pair connects it with."""
        near, far, affine = pair.first, pair.second, pair.affine
        if self.representative[near] == other:
            near, far, affine = far, near, inverse(affine)
        return after(self._map[far], after(affine, inverse(self._map[near])))

    def _absorb(self, start: int, other: int, affine: Affine) -> None:
        """Add the group of `other` to that of `start`; `affine` maps coordinates of `other` to those of `start`."""
        for member in self._members[other]:
            self.representative[member] = start
            self._map[member] = after(affine, self._map[member])
        self._members[start] += self._members[other]
        self._members[other] = []


def loose(pairs: Iterable[NearDuplicate], representative: Sequence[int]) -> list[NearDuplicate]:
    """The pairs whose images are in different groups."""
    return [pair for pair in pairs if representative[pair.first] != representative[pair.second]]
