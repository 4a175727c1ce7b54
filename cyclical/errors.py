"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Say in one line what is wrong with the input, where, and how to mend it.

    The command prints the message and ends with exit status 2; every other exception is a defect
    of this project and keeps its traceback.
    """
