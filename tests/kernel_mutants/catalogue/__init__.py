"""All mutants, by the kernel files that they break."""

from kernel_mutants.catalogue.activations import ACTIVATIONS
from kernel_mutants.catalogue.convolution import CONVOLUTION
from kernel_mutants.catalogue.convolution_direct import CONVOLUTION_DIRECT
from kernel_mutants.catalogue.gemm import GEMM
from kernel_mutants.catalogue.headers import HEADERS
from kernel_mutants.catalogue.joins import JOINS
from kernel_mutants.catalogue.losses import LOSSES
from kernel_mutants.catalogue.merging import MERGING
from kernel_mutants.catalogue.normalization import NORMALIZATION
from kernel_mutants.catalogue.pooling import POOLING
from kernel_mutants.catalogue.small_files import SMALL_FILES
from kernel_mutants.catalogue.tail import TAIL
from kernel_mutants.catalogue.tensor import TENSOR
from kernel_mutants.mutant import Mutant

MUTANTS: list[Mutant] = [
    *HEADERS,
    *MERGING,
    *GEMM,
    *CONVOLUTION,
    *CONVOLUTION_DIRECT,
    *TENSOR,
    *POOLING,
    *NORMALIZATION,
    *TAIL,
    *ACTIVATIONS,
    *JOINS,
    *LOSSES,
    *SMALL_FILES,
]

__all__ = ["MUTANTS"]
