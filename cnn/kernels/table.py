"""The table of all kernels: source, signature, and launch.

The launch wrapper, the tests and the benchmark read this table. The signature of a kernel is only here and in its `.cu`
file, and a test compares the two. Kernels index with 32 bits; the launch wrapper refuses arrays of 2**31 or more
elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cnn.kernels.families.activations import ACTIVATIONS
from cnn.kernels.families.arrays import ARRAYS
from cnn.kernels.families.batches import BATCHES
from cnn.kernels.families.convolution import CONVOLUTION
from cnn.kernels.families.dense import DENSE
from cnn.kernels.families.dropout import DROPOUT
from cnn.kernels.families.group_normalization import GROUP_NORMALIZATION
from cnn.kernels.families.joins import JOINS
from cnn.kernels.families.losses import LOSSES
from cnn.kernels.families.normalization import NORMALIZATION
from cnn.kernels.families.pooling import POOLING
from cnn.kernels.families.tail import TAIL
from cnn.kernels.families.tensor_products import TENSOR_PRODUCTS
from cnn.kernels.families.updates import UPDATES
from cnn.kernels.kernel import Kernel


def _named(kernels: Iterable[Kernel]) -> Mapping[str, Kernel]:
    table: dict[str, Kernel] = {}
    for kernel in kernels:
        if kernel.name in table:
            raise ValueError(f"two kernels are called '{kernel.name}'")
        table[kernel.name] = kernel
    return table


KERNELS: Mapping[str, Kernel] = _named(
    [
        *CONVOLUTION,
        *DENSE,
        *TENSOR_PRODUCTS,
        *POOLING,
        *TAIL,
        *NORMALIZATION,
        *GROUP_NORMALIZATION,
        *ACTIVATIONS,
        *JOINS,
        *DROPOUT,
        *LOSSES,
        *UPDATES,
        *BATCHES,
        *ARRAYS,
    ]
)


def source_names() -> list[str]:
    """The `.cu` files, each once, in the order of the table."""
    return list(dict.fromkeys(kernel.source for kernel in KERNELS.values()))


def kernels_of(source: str, architecture: int | None = None) -> list[Kernel]:
    """The entries of one `.cu` file, which are compiled together; only those that run on `architecture`, if given."""
    return [
        kernel
        for kernel in KERNELS.values()
        if kernel.source == source and (architecture is None or kernel.runs_on(architecture))
    ]


def compiled_with(kernel: Kernel, architecture: int | None = None) -> list[Kernel]:
    """The kernels of the same module: of the same file and storage type, unless one of them is compiled alone."""
    return [
        each
        for each in kernels_of(kernel.source, architecture)
        if each is kernel or (each.storage == kernel.storage and not (each.alone or kernel.alone))
    ]
