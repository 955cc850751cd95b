"""Exceptions that the command line tells in one line, and the exit status of each."""

import errno

# Faults of the machine that need a line, not a traceback: a full disk, missing permission.
MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}

# Input that cannot be used, as argparse has it for arguments.
BAD_INPUT = 2

# A process that cannot go on because another one ended (EX_UNAVAILABLE of sysexits.h).
LOST_PEER = 69

# In the last line of every command that left because it was asked to.
CONTINUES = "the same command"

# A job that left early and continues when it is started again (EX_TEMPFAIL).
RESUME_LATER = 75


class InputError(Exception):
    """Bad input: a file, a setting or a combination of them that cannot be used.

    The message is one line that says what is wrong, where (file, key, image) and what to
    do about it.  The command line prints it without a traceback and exits with status 2.
    """


class BadImageError(InputError):
    """An image file that cannot be decoded, or is not the one that was indexed.

    Where `data.on_bad_image` is "skip", the image is left out and listed instead.
    """


class LoaderError(InputError):
    """A loader process ended or cannot hand its batches over: a fault of the machine.

    What was trained so far is sound, and can be saved.
    """


class LostPeerError(Exception):
    """Another process of a distributed job ended or no longer answers; its message says why."""


class ResumeLaterError(Exception):
    """A job was asked to leave, and has saved what it did: the same command continues.

    The command line prints the message and exits with status 75.
    """
