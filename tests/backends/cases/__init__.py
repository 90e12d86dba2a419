"""What the conformance suite runs over every backend: one list of calls, one tolerance table, one list of gradients.

A case is a named geometry or rule; the files, one a family, turn cases into calls of operations. An operation of the
contract that is missing here fails the suite.
"""

from backends.cases.batches import batch_calls
from backends.cases.call import Call
from backends.cases.convolution import ConvCase, DenseCase, conv_calls, dense_calls, product_calls
from backends.cases.elementwise import element_calls
from backends.cases.losses import loss_calls
from backends.cases.normalization import norm_calls
from backends.cases.pooling import pool_calls
from backends.cases.tail import tail_calls
from backends.cases.tolerances import GRADIENT_TOLERANCE, TOLERANCE_OF, TOLERANCES
from backends.cases.updates import update_calls

CALLS: list[Call] = [
    *element_calls(),
    *product_calls(),
    *pool_calls(),
    *norm_calls(),
    *tail_calls(),
    *loss_calls(),
    *update_calls(),
    *batch_calls(),
]

__all__ = [
    "CALLS",
    "GRADIENT_TOLERANCE",
    "TOLERANCES",
    "TOLERANCE_OF",
    "Call",
    "ConvCase",
    "DenseCase",
    "conv_calls",
    "dense_calls",
]
