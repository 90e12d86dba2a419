"""A training step on a device: timed whole, kernel by kernel, and beside PyTorch. `python -m cnn.benchmark` runs it."""
