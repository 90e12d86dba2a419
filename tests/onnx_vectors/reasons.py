"""What of ONNX is not ours, by operator and by case; the table in docs/onnx_vectors.md quotes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx_vectors.cases import Case, Node

# The modules of `onnx.backend.test.case.node` with the operators that we have.
MODULES = (
    *("adam", "add", "averagepool", "batch_normalization", "clip", "concat", "conv", "convtranspose", "dropout"),
    *("elu", "gelu", "gemm", "globalaveragepool", "globalmaxpool", "groupnormalization", "hardswish"),
    *("instance_normalization", "layernormalization", "leakyrelu", "logsoftmax", "matmul", "maxpool", "maxunpool"),
    *("meanvariancenormalization", "mish", "momentum", "mul", "negativeloglikelihoodloss", "prelu", "relu", "selu"),
    *("sigmoid", "softmax", "softmax_cross_entropy_loss", "softplus", "split", "sum", "swish", "tanh"),
)

# Operators that move numbers and calculate nothing: NumPy does this between the operators of a graph.
SHAPES_ONLY = ("Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")

_GROUPS = {
    "attention and recurrent networks": """
        Attention CausalConvWithState FlexAttention GRU LSTM LinearAttention RNN RotaryEmbedding TensorScatter""",
    "a normalisation that we do not have": "LRN LpNormalization RMSNormalization",
    "a pooling or convolution that we do not have": "Col2Im DeformConv LpPool RoiAlign",
    "an activation that we do not have": """
        Celu HardSigmoid Hardmax Shrink Softsign SwiGLU ThresholdedRelu""",
    "an optimizer that we do not have": "Adagrad",
    "a gradient of a whole graph": "Gradient",
    "images: resizing and decoding": """
        AffineGrid CenterCropPad DepthToSpace GridSample ImageDecoder NonMaxSuppression Resize SpaceToDepth
        Upsample""",
    "integers and quantisation": """
        BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor ConvInteger DequantizeLinear
        DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear""",
    "conversion of data types": "Cast CastLike",
    "arithmetic that no layer needs": """
        Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Det Div Einsum Erf Exp Floor Log Max Mean Min Mod Neg Pow
        Reciprocal Round Sign Sin Sinh Sqrt Sub Tan ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
        ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare CumProd CumSum""",
    "logic and comparison": """
        And ArgMax ArgMin Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual NonZero Not Or TopK Unique Where
        Xor""",
    "indices, shapes and control flow": """
        Compress ConstantOfShape Expand EyeLike Gather GatherElements GatherND If Loop OneHot OptionalGetElement
        OptionalHasElement Pad Range ReverseSequence Scan Scatter ScatterElements ScatterND Shape Size Slice Tile
        Trilu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap
        SplitToSequence ConcatFromSequence""",
    "signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "texts and decision trees": """
        ArrayFeatureExtractor Binarizer LabelEncoder RegexFullMatch StringConcat StringNormalizer StringSplit
        TfIdfVectorizer TreeEnsemble""",
    "random numbers of another generator": "Bernoulli",
}
NOT_OURS: Mapping[str, str] = {op: reason for reason, ops in _GROUPS.items() for op in ops.split()}

# --- limits of the operators that we have ---------------------------------------------------------------------------

MOST_SINGLE_ROWS = 100  # calls that a case may take which wants the loss of every row for itself

Limit = Callable[["Node", list[np.ndarray | None]], bool]


def _dimensions(least: int) -> Limit:
    return lambda node, arrays: arrays[0] is not None and arrays[0].ndim - 2 >= least


def _other_shapes(node: Node, arrays: list[np.ndarray | None]) -> bool:
    shapes = {array.shape for array in arrays if array is not None}
    return len(shapes) > 1


def _integers(node: Node, arrays: list[np.ndarray | None]) -> bool:
    return arrays[0] is not None and arrays[0].dtype.kind != "f"


def _many_rows(node: Node, arrays: list[np.ndarray | None]) -> bool:
    return node.attributes.get("reduction") == b"none" and arrays[1].size > MOST_SINGLE_ROWS


def _drops(node: Node, arrays: list[np.ndarray | None]) -> bool:
    training = len(arrays) > 2 and bool(arrays[2])
    return training and (arrays[1] is None or float(arrays[1]) > 0)


LIMITS: Mapping[str, tuple[tuple[Limit, str], ...]] = {
    **dict.fromkeys(
        ("AveragePool", "Conv", "ConvTranspose", "MaxPool"), ((_dimensions(3), "three spatial dimensions"),)
    ),
    "Add": ((_other_shapes, "broadcasting"),),
    "Mul": ((_other_shapes, "broadcasting"),),
    "Dropout": ((_drops, "random numbers of another generator"),),
    "Gelu": ((lambda node, arrays: node.attributes.get("approximate") == b"tanh", "the approximation by tanh"),),
    "MatMul": ((lambda node, arrays: arrays[0] is not None and arrays[0].ndim != 2, "a batch of matrices"),),
    "MaxUnpool": ((lambda node, arrays: len(arrays) > 2, "an output larger than the windows cover"),),
    "PRelu": (
        (lambda node, arrays: node.version >= 7 and arrays[1].ndim > 1, "a slope for every number, not for a channel"),
    ),
    "Selu": ((lambda node, arrays: bool(node.attributes), "other constants than the paper's"),),
    "Split": ((lambda node, arrays: arrays[0] is not None and arrays[0].size == 0, "an array of no elements"),),
    "NegativeLogLikelihoodLoss": ((_many_rows, "the loss of every single row of many"),),
    "SoftmaxCrossEntropyLoss": ((_many_rows, "the loss of every single row of many"),),
}


def limit(node: Node, case: Case) -> str:
    """Why this use of an operator that we have is not run; empty if it is."""
    arrays = [case.values.get(name) for name in node.inputs]
    if arrays and _integers(node, arrays):
        return "whole numbers"
    return next((reason for applies, reason in LIMITS.get(node.op, ()) if applies(node, arrays)), "")
