"""Everything that measures. At the top are the commands and what several of them share; the rest by subject.

`kernels/` what a launch asks of a GPU, `step/` a training step on a device (the command is `python -m cnn.benchmark`),
`cpu/` the CPU engine beside PyTorch, `data/` the search for near-duplicates. `torch_reference.py` is the PyTorch model
that ours are compared with, `torch_comparison.py` the comparison, `workload.py` the training step on noise.
"""
