"""The thresholds of the search for near-duplicates. docs/datasets.md shows the pairs that they were chosen from, and
docs/benchmarks/duplicate_kinds.md the kinds of images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SearchConfig:
    """The options `merge.twins`: when two images count as copies of one. Pixels are those of the image at 48 x 48."""

    correlation: float = 0.95  # of two images without any warp: enough by itself
    detail: float = 0.80  # correlation of the fine structure after one image is warped onto the other
    alike: float = 0.85  # similarity of the embeddings from which less detail is enough: ...
    alike_detail: float = 0.65  # ... at least this much (prints of one photograph that differ in sharpness)
    chain: float = 0.65  # `detail` between a group's representative and a member that joins through others
    near_shift: float = 4.5  # most pixels that the warp of a `near` or `mirrored` pair moves a corner: 3 each way
    neighbours: int = 10  # candidates per image, and as many for its mirror image
    blank_below: float = 2.0  # grey levels: an image with a smaller standard deviation is blank and is not searched
    strangers: float = 0.36  # detail that different images may share: above it no warped copies are sought; 1: no limit
    cells: float = 30.0  # independent cells of fine structure, and ...
    fine: float = 2.0  # ... grey levels of it: with less more must agree, or without a warp; 0: no limit
