"""The one exception that stands for a mistake in what the user gave us."""


class InputError(Exception):
    """Bad input: a file, a setting or a combination of them that cannot be used.

    The message is one line that says what is wrong, where (file, key, image) and what to
    do about it.  The command line prints it without a traceback and exits with status 2.
    """
