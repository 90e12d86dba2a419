"""Breaks the kernels on purpose, place by place, and shows that the tests notice: `python -m kernel_mutants.run`."""
