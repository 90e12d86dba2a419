"""The classes of a data set, and the map from the names that sources use to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foundation.errors import UserError

# Other names that collections of facial emotions give to the same classes. One whose class a data set does not
# have is simply not used.
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
    """Class names in their order, and what raw name means which class; upper and lower case do not matter.

    `extra` comes from `data.label_map` and wins over `ALIASES`. Raises `UserError` for no class or a repeated one,
    and for an entry of `extra` that leads to no class.
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

    def __call__(self, raw: str) -> str | None:
        """Class of a raw name, or None if it has none."""
        return self._map.get(normalise(raw))


def normalise(name: str) -> str:
    """The form in which names are compared: without outer blanks, case-folded."""
    return name.strip().casefold()
