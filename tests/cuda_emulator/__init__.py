"""Runs CUDA kernels on the CPU, from their unchanged text, and finds what is wrong with them. See README.md."""

from cuda_emulator.emulator import Emulator
from cuda_emulator.errors import EmulatorError
from cuda_emulator.toolchain import unavailable

__all__ = ["Emulator", "EmulatorError", "unavailable"]
