"""Which parts of an image speak for a class: maps from the project's own backward pass."""

from cnn.explaining.class_maps import METHODS, ClassMaps, class_maps, last_feature_map
from cnn.explaining.gradients import ScoreGradient, score_gradient

__all__ = ["METHODS", "ClassMaps", "ScoreGradient", "class_maps", "last_feature_map", "score_gradient"]
