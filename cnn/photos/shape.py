"""Warns of images that are unlike those that a network was trained on, because they are squeezed into its input."""

from __future__ import annotations

from collections.abc import Sequence

_WIDER, _LARGER = 1.4, 8.0  # times the aspect ratio, and times the side, from which an image is far from the training's


def unlike_training(names: Sequence[str], images: Sequence[tuple[int, ...]], shape: tuple[int, int, int]) -> list[str]:
    """A sentence for each way in which images (h, w) or (h, w, 3) differ from the network's input (h, w, channels).

    Both are given by their shapes. Each names the first such image and how many there are.
    """
    height, width, channels = shape
    sees = f"{width} x {height}"
    squeezed, large, grey = [], [], []
    for name, image in zip(names, images, strict=True):
        h, w = image[:2]
        ratio = (w / h) / (width / height)
        found = f"{name} ({w} x {h})"
        if not 1 / _WIDER < ratio < _WIDER:
            squeezed.append(found)
        if min(h, w) > _LARGER * max(height, width):
            large.append(found)
        if len(image) == 2 and channels == 3:
            grey.append(name)
    kinds = (
        (squeezed, f"of another aspect ratio than the network's {sees} pixels: {{}} squeezed; crop as in the data"),
        (large, f"more than {_LARGER:.0f} times as large as the network's {sees} pixels: does all of it count?"),
        (grey, "grey, the network was trained on colour"),
    )  # fmt: skip
    lines = []
    for each, text in kinds:
        if each:
            more = f" and {len(each) - 1} more" if len(each) > 1 else ""
            said = text.format("they are" if len(each) > 1 else "it is")
            lines.append(f"warning: {each[0]}{more} {'are' if len(each) > 1 else 'is'} {said}")
    if squeezed or large:
        lines.append("In photographs of people, faces=find looks for the faces and crops them.")
    return lines
