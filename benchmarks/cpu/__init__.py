"""The CPU engine beside PyTorch: a process for each side, asked in turns."""
