"""A packed sequence is the list that it was made of."""

import pytest

from cyborgs.evaluation.data.packed import Packed

ITEMS = ["", "a", ("b", 2), None, [1.5], "é\udcff"]


def test_it_is_the_list():
    packed = Packed(iter(ITEMS))
    assert list(packed) == ITEMS
    assert len(packed) == len(ITEMS)
    assert [packed[i] for i in range(-len(ITEMS), len(ITEMS))] == ITEMS * 2
    for part in (slice(1, 4), slice(None, None, 2), slice(-2, None), slice(9, 3)):
        assert packed[part] == ITEMS[part]


@pytest.mark.parametrize("items", [ITEMS, []])
def test_what_lies_outside(items):
    packed = Packed(items)
    for number in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            packed[number]
    assert list(packed) == items
