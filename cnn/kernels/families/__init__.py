"""The entries of the kernel table, one file per family; `cnn.kernels.table` joins them."""
