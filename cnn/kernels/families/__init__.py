"""The kernel table's entries, a family a file; `cnn.kernels.table` joins them."""
