"""Random numbers that depend on what they are for, never on who draws them or when.

Every random choice of the pipeline comes from a generator made for it alone, from the
run's seed and the item's own name: ("views", epoch, image), ("clusters", round, group) …
So the number of processes, workers, shards and retries changes nothing.
"""

import hashlib
import json

import numpy as np


def derive(seed: int, *item: str | int) -> int:
    """A 63-bit seed for one item of a run: a hash of ``seed`` and ``item``."""
    text = json.dumps([seed, *item]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *item: str | int) -> np.random.Generator:
    """A NumPy generator for one item of a run."""
    return np.random.Generator(np.random.PCG64(derive(seed, *item)))
