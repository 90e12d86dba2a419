"""Layers, one a file. `LAYERS` is where a config's layer name finds its class."""

from cnn.layers.avg_pool2d import AvgPool2D
from cnn.layers.base import BuildContext, Layer, Parameter, Shape
from cnn.layers.batch_norm import BatchNorm
from cnn.layers.conv2d import Conv2D
from cnn.layers.dense import Dense
from cnn.layers.depthwise_conv2d import DepthwiseConv2D
from cnn.layers.dropout import Dropout
from cnn.layers.elu import ELU
from cnn.layers.flatten import Flatten
from cnn.layers.gelu import GELU
from cnn.layers.global_avg_pool2d import GlobalAvgPool2D
from cnn.layers.leaky_relu import LeakyReLU
from cnn.layers.max_pool2d import MaxPool2D
from cnn.layers.relu import ReLU
from cnn.layers.silu import SiLU

LAYERS: dict[str, type[Layer]] = {
    "conv2d": Conv2D,
    "depthwise_conv2d": DepthwiseConv2D,
    "dense": Dense,
    "batch_norm": BatchNorm,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "dropout": Dropout,
    "max_pool2d": MaxPool2D,
    "avg_pool2d": AvgPool2D,
    "global_avg_pool2d": GlobalAvgPool2D,
    "flatten": Flatten,
}

__all__ = ["LAYERS", "BuildContext", "Layer", "Parameter", "Shape"]
