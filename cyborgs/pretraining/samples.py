"""Training samples: two views of an image, the labels of their cells, and sampled mask ids.

A sample depends on the seed, the epoch and the image alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import generator
from cyborgs.images.decoding import decode
from cyborgs.images.index import Index
from cyborgs.masks.shards import Masks
from cyborgs.pretraining.settings import Views
from cyborgs.pretraining.views import cell_labels, draw_view, render, sample_ids, scramble

Batch = dict[str, torch.Tensor]


class TwoViews(Dataset[dict[str, Any] | InputError]):
    """Samples by ``(epoch, position in the index)``.

    A sample is a dict: ``positions`` (the image's, in the index), ``images`` uint8 ``(2, crop,
    crop, 3)``, ``cells`` int32 ``(2, grid, grid)``, ``ids`` int32 ``(2 views, 2 networks,
    masks)``.  Bad input comes back as the
    `InputError` itself, since a loader process would bury it in a traceback.

    Args:
        folder: of the images.
        index: of the images.
        masks: of the images.
        views: how views are made.
        cell: side of a cell of a view, in pixels.
        samples: mask ids drawn for each view and network.
        seed: of the run.
        scrambled: whether cells are scrambled (`cyborgs.pretraining.views.scramble`).
    """

    def __init__(
        self,
        folder: Path,
        index: Index,
        masks: Masks,
        views: Views,
        *,
        cell: int,
        samples: int,
        seed: int,
        scrambled: bool = False,
    ) -> None:
        self._folder = folder
        self._index = index
        self._masks = masks
        self._views = views
        self._cell = cell
        self._samples = samples
        self._seed = seed
        self._scrambled = scrambled

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any] | InputError:
        try:
            return self._sample(*key)
        except InputError as error:
            return error

    def _sample(self, epoch: int, position: int) -> dict[str, Any]:
        entry = self._index[position]
        image = decode(self._folder, entry)
        labels = self._masks.read(position)
        rng = generator(self._seed, "views", epoch, position)
        images, cells, ids = [], [], []
        for which in range(2):
            view = draw_view(rng, self._views, which, height=entry.height, width=entry.width)
            images.append(render(image, view, self._views))
            cells.append(
                cell_labels(
                    labels,
                    self._masks.stride,
                    view.crop,
                    side=self._views.crop,
                    cell=self._cell,
                )
            )
            ids.append(sample_ids(rng, cells[-1], self._samples))
        both = np.stack(cells)
        if self._scrambled:
            # By a generator of its own: views and ids stay those of the run it is compared with.
            both = scramble(generator(self._seed, "scramble", epoch, position), both)
        return {
            "positions": position,
            "images": np.stack(images),
            "cells": both,
            "ids": np.stack(ids),
        }
