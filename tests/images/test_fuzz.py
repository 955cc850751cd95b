"""Broken files by the thousand: each is refused with a reason, or read for what it is."""

import contextlib
from collections import Counter

import pytest

from cyborgs.common.errors import BadImageError
from cyborgs.images.decoding import BrokenImageError, decode, examine
from tests.bench.fuzz import broken_files
from tests.bench.fuzz_annotations import broken_annotations, outcome, write_images


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_broken_files_are_refused_or_read(tmp_path):
    """`tests/bench/fuzz.py` does the same for as many as one likes, and watches memory."""
    read = refused = 0
    reasons = set()
    for content in broken_files(6000, seed=0):
        try:
            entry = examine("x", content)
        except BrokenImageError as error:
            reasons.add(str(error))
            refused += 1
            continue
        (tmp_path / "x").write_bytes(content)
        # A JPEG is looked at in another library than the one that decodes it, which may refuse it.
        with contextlib.suppress(BadImageError):
            assert decode(tmp_path, entry).shape == (entry.height, entry.width, 3)
            read += 1
    assert read > 500
    assert refused > 500
    assert all(reason and "\n" not in reason for reason in reasons)


@pytest.mark.slow
def test_broken_annotations_are_refused_or_accounted_for(tmp_path):
    """`tests/bench/fuzz_annotations.py` does the same for as many as one likes."""
    write_images(tmp_path)
    outcomes = Counter(outcome(*file, tmp_path) for file in broken_annotations(600, seed=0))
    assert outcomes["read and scored"] > 60
    assert outcomes["refused when read"] > 60
    assert outcomes["read, refused by an evaluation"] > 30
