"""What a kernel launch asks of a GPU: bytes, operations, registers, and the ceilings of the machine."""
