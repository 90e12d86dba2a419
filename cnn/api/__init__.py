"""The Python face: networks as scikit-learn's estimators, without Hydra and without files."""

from cnn.api.classifier import Classifier
from cnn.api.report import Report

__all__ = ["Classifier", "Report"]
