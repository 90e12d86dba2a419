"""The plain NumPy meaning of every operation, a file a family. `Ops` in `cnn/backends/ops.py` puts them together."""
