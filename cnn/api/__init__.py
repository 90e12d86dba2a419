"""The Python interface: networks as estimators of scikit-learn, without Hydra and without files."""

from cnn.api.classifier import Classifier
from cnn.api.explanation import Explanation
from cnn.api.images import load_folder
from cnn.api.report import Report

__all__ = ["Classifier", "Explanation", "Report", "load_folder"]
