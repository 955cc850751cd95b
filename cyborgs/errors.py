"""Exceptions that the command line tells in one line."""


class InputError(Exception):
    """Bad input: a file, a setting or a combination of them that cannot be used.

    The message is one line that says what is wrong, where (file, key, image) and what to
    do about it.  The command line prints it without a traceback and exits with status 2.
    """


class ResumeLaterError(Exception):
    """A job was asked to leave, and has saved what it did: the same command continues.

    The command line prints the message and exits with status 75 (EX_TEMPFAIL of sysexits.h).
    """
