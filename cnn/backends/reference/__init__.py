"""Every operation in plain NumPy, one file per family. `Ops` in `cnn/backends/ops.py` joins them."""
