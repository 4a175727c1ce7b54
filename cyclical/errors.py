"""The errors that are told in one line."""


class RunError(Exception):
    """Say in one line what failed although the input was right, and how to go on.

    The command prints the message and ends with exit status 1.
    """


class InputError(ValueError):
    """Say in one line what is wrong with the input, where, and how to mend it.

    The command prints the message and ends with exit status 2; every other exception is a defect
    of this project and keeps its traceback.
    """
