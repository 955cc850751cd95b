"""Work that threads do ahead of who takes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(
    make: Callable[[Item], Made], items: Iterable[Item], threads: int, ahead: int | None = None
) -> Iterator[Made]:
    """What is made of each item, in their order; an exception comes where its item would.

    Only ``ahead`` are made ahead (by default four times the threads), so that memory does not grow
    with their number.
    """
    most = 4 * threads if ahead is None else ahead
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Made]] = deque()
        for item in items:
            begun.append(pool.submit(make, item))
            if len(begun) > most:
                yield begun.popleft().result()
        for last in begun:
            yield last.result()
