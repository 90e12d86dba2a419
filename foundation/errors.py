"""`UserError`: an error that the person who meets it can correct."""


class UserError(ValueError):
    """Bad input, with a message of one line: what is wrong, where, and what to do.

    Entry points print the message without a stack trace and exit with status 2. It is a ValueError, because that is
    what callers from Python, scikit-learn among them, expect of bad input.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
