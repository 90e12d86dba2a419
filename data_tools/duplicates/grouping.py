"""From confirmed pairs to groups: connected components, in which every member has to resemble the representative.

A chain of pairs, each of them right, or one wrong pair among hundreds of right ones, could tie two different faces
together. So two groups are joined only if the representative of the one, compared directly with that of the other
along the map that the chain implies, is still the same photograph. Pairs that this leaves between two groups are
`loose`: the merge keeps their pictures out of different splits all the same.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import numpy as np

from data_tools.duplicates.alignment import Affine, Aligner, after, inverse
from data_tools.duplicates.search import Twin


class Groups:
    """A partition of `number` pictures that only grows; `representative[i]` stands for the group of picture i."""

    def __init__(self, number: int) -> None:
        self.representative = list(range(number))
        self._members = [[picture] for picture in range(number)]
        self._map: list[Affine] = [np.eye(2, 3)] * number  # from a picture's places to those of its representative

    def join(self, twins: Iterable[Twin], aligner: Aligner) -> None:
        """Join the groups that the pairs connect, as far as `aligner` agrees.

        The group with the most neighbours gathers first. What does not resemble it is left to gather its own.
        """
        best: dict[tuple[int, int], Twin] = {}
        for twin in twins:
            a, b = self.representative[twin.first], self.representative[twin.second]
            key = (min(a, b), max(a, b))
            if a != b and (key not in best or twin.detail > best[key].detail):
                best[key] = twin
        neighbours: dict[int, dict[int, Twin]] = defaultdict(dict)
        for (a, b), twin in best.items():
            neighbours[a][b] = neighbours[b][a] = twin
        left = set(neighbours)
        for start in sorted(neighbours, key=lambda name: (-len(neighbours[name]), name)):
            if start in left:
                left.discard(start)
                self._gather(start, neighbours, left, aligner)

    def _gather(self, start: int, neighbours: dict[int, dict[int, Twin]], left: set[int], aligner: Aligner) -> None:
        """Breadth first, so that maps are composed of as few as can be."""
        front = deque([start])
        while front:
            for other, twin in sorted(neighbours[front.popleft()].items()):
                if other not in left:
                    continue
                implied = self._implied(twin, other)
                if {twin.first, twin.second} != {start, other}:
                    match = aligner.confirm_from(start, other, implied)
                    if match is None:
                        continue
                    implied = match.affine
                left.discard(other)
                front.append(other)
                self._absorb(start, other, inverse(implied))

    def _implied(self, twin: Twin, other: int) -> Affine:
        """The map to `other` from the representative that the pair connects it with."""
        near, far, affine = twin.first, twin.second, twin.affine
        if self.representative[near] == other:
            near, far, affine = far, near, inverse(affine)
        return after(self._map[far], after(affine, inverse(self._map[near])))

    def _absorb(self, start: int, other: int, affine: Affine) -> None:
        """Make the group of `other` part of that of `start`; `affine` maps places of `other` to those of `start`."""
        for member in self._members[other]:
            self.representative[member] = start
            self._map[member] = after(affine, self._map[member])
        self._members[start] += self._members[other]
        self._members[other] = []


def loose(twins: Iterable[Twin], representative: Sequence[int]) -> list[Twin]:
    """The pairs whose pictures are in different groups."""
    return [twin for twin in twins if representative[twin.first] != representative[twin.second]]
