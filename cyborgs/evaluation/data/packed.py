"""Many small things in one block of memory, which loader processes share."""

import pickle
from collections.abc import Iterable, Sequence
from typing import TypeVar, overload

import numpy as np

T = TypeVar("T")


class Packed(Sequence[T]):
    """A sequence whose items are pickled, and made anew each time that they are asked for.

    Loader processes share the memory of the process that started them until one of them writes
    to it, and so does looking at a Python object, whose references are counted: of a large list,
    each process soon has a copy.  (Detectron2 keeps its lists of images in the same way.)

    Args:
        items: picklable.
    """

    def __init__(self, items: Iterable[T]) -> None:
        parts = [pickle.dumps(item, pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(parts), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, number: int) -> T: ...

    @overload
    def __getitem__(self, number: slice) -> list[T]: ...

    def __getitem__(self, number: int | slice) -> T | list[T]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        begin = self._ends[number - 1] if number else 0
        item: T = pickle.loads(self._bytes[begin : self._ends[number]].data)
        return item
