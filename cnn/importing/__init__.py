"""Reads weights that PyTorch or Keras has saved into a network of this project. Nothing of a file is executed."""
