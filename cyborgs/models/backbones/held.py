"""How many numbers a network holds at once while it computes: found from shapes alone."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def most_held(compute: Callable[[], Any]) -> int:
    """The most bytes of tensors that a computation on the meta device holds at any time.

    What it was given is not counted, and nothing is ever allocated.  In inference mode, attention
    is one operation, as the fused kernels compute it: its matrix of all pairs of locations is
    never there.

    Args:
        compute: makes tensors of the meta device, and lets go of them as it would elsewhere.
    """
    counter = _Counter()
    with torch.inference_mode(), counter:
        compute()
    return counter.most


class _Counter(TorchDispatchMode):
    """Adds what every operation makes, and takes off what nobody refers to any longer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # A view, and what is computed in place, have the storage of what an operation was given.
        given = {storage._cdata for storage in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            key = storage._cdata
            if key not in given and key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.most = max(self.most, self._now)
                weakref.finalize(storage, self._remove, key)
        return made

    def _remove(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]
