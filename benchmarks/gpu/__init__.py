"""The stages of `python -m benchmarks.gpu_check`, one module each; none needs more than CuPy, pytest and PyTorch."""
