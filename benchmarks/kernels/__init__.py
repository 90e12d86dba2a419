"""The cost of kernel launches on a GPU: bytes, operations, registers; and the limits of the machine."""
