"""Models: built from a declarative list of layers."""

from cnn.models.builder import build_model
from cnn.models.inference import InferenceModel
from cnn.models.model import Model

__all__ = ["InferenceModel", "Model", "build_model"]
