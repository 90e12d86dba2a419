"""What the emulator raises."""


class EmulatorError(RuntimeError):
    """A kernel, or its launch, is wrong; the message says what, where, and which thread."""
