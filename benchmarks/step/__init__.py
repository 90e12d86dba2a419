"""A training step on a device: its time, the time of each kernel, and of PyTorch. `python -m cnn.benchmark` runs it."""
