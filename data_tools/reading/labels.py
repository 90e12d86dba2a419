"""The classes of a data set, and the map from the names that sources use to classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_tools.sources.layout import comparable
from foundation.errors import UserError

# Names that other collections of facial emotions use for the same classes. An alias of a class that the data set does
# not have is ignored.
ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


class LabelMap:
    """Class names in their order, and the map from raw names to classes. Names are compared without case.

    `extra` comes from `data.label_map` and takes precedence over `ALIASES`. Raises `UserError` if there is no class,
    for a class given twice, and for an entry of `extra` that names no class.
    """

    def __init__(self, classes: Sequence[str], extra: Mapping[str, str] | None = None) -> None:
        self.classes = tuple(classes)
        self._map = {normalise(name): name for name in classes}
        if not classes or len(self._map) < len(classes):
            raise UserError(f"data.classes: needs at least one class and none twice, got {list(classes)}")
        own = dict(self._map)
        for alias, name in ALIASES.items():
            if name in own:
                self._map.setdefault(alias, name)
        for raw, name in (extra or {}).items():
            if name not in self.classes:
                raise UserError(f"data.label_map.{raw}: '{name}' is no class of {', '.join(self.classes)}")
            if own.get(normalise(raw), name) != name:
                raise UserError(f"data.label_map.{raw}: '{raw}' is itself a class and cannot mean '{name}'")
            self._map[normalise(raw)] = name

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that means a class, as they are compared."""
        return tuple(self._map)

    def __call__(self, raw: str) -> str | None:
        """The class of a raw name, or None if it is unknown."""
        return self._map.get(normalise(raw))


def normalise(name: str) -> str:
    """The form in which names are compared: without case, and with one form of accented letters."""
    return comparable(name)
