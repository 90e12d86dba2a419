"""The comparison of the CPU engine with PyTorch: one process per side, which run in turns."""
