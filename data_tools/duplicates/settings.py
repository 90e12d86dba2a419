"""The thresholds of the search. docs/datasets.md shows the pairs that they were chosen from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TwinConfig:
    """`merge.twins`: what makes two pictures one photograph. Pixels are those of the picture at 48 x 48."""

    correlation: float = 0.95  # of two pictures laid on each other as they are: enough by itself
    detail: float = 0.80  # of the fine structure of two pictures after the one is warped onto the other
    alike: float = 0.85  # of the embeddings: prints of one photograph that differ in sharpness, if their detail ...
    alike_detail: float = 0.65  # ... agrees at least so well
    chain: float = 0.65  # the same between a group's representative and a member that joins by way of others
    near_shift: float = 4.5  # pixels that the warp of a `near` or `mirrored` pair moves a corner at most: 3 each way
    neighbours: int = 10  # candidates for each picture, and as many for its mirror image
    blank_below: float = 2.0  # grey levels: a picture with a smaller standard deviation shows nothing to compare
