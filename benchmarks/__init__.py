"""All measurements. At the top level are the commands and modules shared by several of them.

`kernels/` has the cost of kernel launches on a GPU, `step/` a training step on a device (the command is
`python -m cnn.benchmark`), `cpu/` the comparison of the CPU engine with PyTorch, `data/` the search for
near-duplicates. `torch_reference.py` is the reference model in PyTorch, `torch_comparison.py` the comparison with it,
`workload.py` the training step on noise.
"""
