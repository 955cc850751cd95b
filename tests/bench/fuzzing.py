"""What the fuzzers have in common: options, an alarm, and a line of figures now and then."""

import argparse
import resource
import signal
import time
from collections import Counter


def throw(description, files, outcome, count, patience=10):
    """Throw files at a program, and print what became of them.

    A crash ends this program by a signal, a file that takes too long by an alarm, and whatever else
    than an outcome by its traceback.

    Args:
        description: for ``--help``.
        files: makes a number of files from a seed.
        outcome: throws one, and returns a word for what became of it.
        count: of files, unless ``--files`` says otherwise.
        patience: seconds that a file may take.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--files", type=int, default=count)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcomes = Counter()
    slowest = 0.0
    for number, file in enumerate(files(options.files, options.seed), start=1):
        begin = time.perf_counter()
        signal.alarm(patience)
        outcomes[outcome(file)] += 1
        signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - begin)
        if number % max(1, options.files // 5) == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{number:,} files, at most {slowest:.2f} s a file, {memory:.0f} MB at most: "
                + ", ".join(f"{count:,} {what}" for what, count in outcomes.most_common()),
                flush=True,
            )
