"""Threads that work ahead: in order, and not far."""

import time

import pytest

from cyborgs.common.ahead import in_order


def test_the_order_is_that_of_the_items():
    def make(number):
        # Later ones are done sooner.
        time.sleep(0.002 * (number % 3 == 0))
        return number

    assert list(in_order(make, range(100), 3)) == list(range(100))


def test_only_a_few_are_made_ahead():
    made = []
    results = in_order(made.append, range(1000), 2)
    next(results)
    assert len(made) <= 9
    results.close()


def test_an_error_comes_where_its_item_would():
    def make(number):
        if number == 5:
            raise ValueError(number)
        return number

    results = in_order(make, range(10), 4)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="5"):
        next(results)
