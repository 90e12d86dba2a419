"""The handwritten digits that come with scikit-learn: 1,797 grey images, 8 x 8 (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.sources.base import Entry, Fingerprint


class Digits:
    """The images, without splits. Their values 0 to 16 become 0 to 255."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Stream the images; the labels are '0' to '9'."""
        from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        for index, (image, label) in enumerate(zip(pixels, digits.target.tolist(), strict=True)):
            yield Entry(self.name, f"{index:04}", "", str(label), pixels=image)

    def expected(self) -> int | None:
        """The number of images."""
        return 1797

    def fingerprint(self) -> Fingerprint:
        """The version of scikit-learn, which has the images in it."""
        import sklearn  # noqa: PLC0415

        return {"scikit_learn": sklearn.__version__}
