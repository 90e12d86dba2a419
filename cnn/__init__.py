"""Convolutional networks from scratch: layers over an array backend, NumPy or CUDA."""
