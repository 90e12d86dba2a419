"""Models: graphs of layers, built from a list in a config or from Python objects."""

from cnn.models.builder import Branches, Residual, build_model
from cnn.models.inference import InferenceModel
from cnn.models.model import Model

__all__ = ["Branches", "InferenceModel", "Model", "Residual", "build_model"]
