"""The CUDA kernels: `.cu` sources by family, and the one table that compile, launch wrapper and tests read."""

from cnn.kernels.kernel import STORAGES, SUFFIXES, Argument, Kernel
from cnn.kernels.sources import FOLDER, compile_options, options_for_nvrtc, source_text
from cnn.kernels.structs import STRUCTS, fast_divmod
from cnn.kernels.table import KERNELS, compiled_with, kernels_of, source_names

__all__ = [
    "FOLDER",
    "KERNELS",
    "STORAGES",
    "STRUCTS",
    "SUFFIXES",
    "Argument",
    "Kernel",
    "compile_options",
    "compiled_with",
    "fast_divmod",
    "kernels_of",
    "options_for_nvrtc",
    "source_names",
    "source_text",
]
