"""Layers, one kind per file. `LAYERS` maps the layer names of a config to classes."""

from cnn.layers.activations import (
    ELU,
    GELU,
    SELU,
    Clip,
    HardSwish,
    LeakyReLU,
    Mish,
    PReLULayer,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from cnn.layers.base import Buffer, Layer, Parameter, Pass, Pointwise, Producer, Shape, Streams, Tensors
from cnn.layers.batch_norm import BatchNorm
from cnn.layers.conv2d import Conv2D
from cnn.layers.dense import Dense
from cnn.layers.depthwise_conv2d import DepthwiseConv2D
from cnn.layers.drop_path import DropPath
from cnn.layers.dropout import Dropout
from cnn.layers.flatten import Flatten
from cnn.layers.global_avg_pool2d import GlobalAvgPool2D
from cnn.layers.group_norm import GroupNorm, LayerNorm
from cnn.layers.joins import Add, Concat, ElementwiseJoin, Join, Multiply
from cnn.layers.patch_whitening import PatchWhitening
from cnn.layers.pool2d import AvgPool2D, MaxPool2D

LAYERS: dict[str, type[Layer]] = {
    "conv2d": Conv2D,
    "depthwise_conv2d": DepthwiseConv2D,
    "patch_whitening": PatchWhitening,
    "dense": Dense,
    "batch_norm": BatchNorm,
    "group_norm": GroupNorm,
    "layer_norm": LayerNorm,
    "relu": ReLU,
    "relu6": ReLU6,
    "clip": Clip,
    "leaky_relu": LeakyReLU,
    "prelu": PReLULayer,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SiLU,
    "mish": Mish,
    "softplus": Softplus,
    "hard_swish": HardSwish,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "dropout": Dropout,
    "drop_path": DropPath,
    "max_pool2d": MaxPool2D,
    "avg_pool2d": AvgPool2D,
    "global_avg_pool2d": GlobalAvgPool2D,
    "flatten": Flatten,
}
# The joins of branches; in a config they contain the branches: `add: {branches: [[...], [...]]}`.
JOINS: dict[str, type[Join]] = {"add": Add, "multiply": Multiply, "concat": Concat}

__all__ = [
    "ELU",
    "GELU",
    "JOINS",
    "LAYERS",
    "SELU",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "Buffer",
    "Clip",
    "Concat",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "DropPath",
    "Dropout",
    "ElementwiseJoin",
    "Flatten",
    "GlobalAvgPool2D",
    "GroupNorm",
    "HardSwish",
    "Join",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Mish",
    "Multiply",
    "PReLULayer",
    "Parameter",
    "Pass",
    "PatchWhitening",
    "Pointwise",
    "Producer",
    "ReLU",
    "ReLU6",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Streams",
    "Tanh",
    "Tensors",
]
