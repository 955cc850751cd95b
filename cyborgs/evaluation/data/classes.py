"""ImageNet's layout: a folder a class, and examples of its images."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import generator
from cyborgs.evaluation.data.packed import Packed
from cyborgs.images.decoding import SUFFIXES, read_pixels
from cyborgs.pretraining.settings import Views
from cyborgs.pretraining.views import draw_view

Pixels = NDArray[np.uint8]

# ``image`` uint8 (crop, crop, 3), ``label``, and ``name`` of the file
Example = dict[str, Any]


@dataclass(frozen=True)
class Classified:
    """Images of classes.

    Attributes:
        folder: of the classes.
        names: of the images, ``<class>/<file>``, in order.
        labels: number of each one's class, from 0.
        classes: names of the classes, in order.
        digest: SHA-256 of the names and sizes of the files.
    """

    folder: Path
    names: Sequence[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    digest: str


def find_classified(folder: Path, most: int | None = None) -> Classified:
    """The images below ``folder/<class>/``.

    Args:
        folder: of the classes.
        most: images of a class, drawn at random; None: all.

    Raises:
        InputError: the folder cannot be read, holds fewer than two classes, or one of them has no
            image.
    """
    digest = hashlib.sha256()
    try:
        # Hidden folders belong to other programs.
        folders = (e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
        classes = sorted(folders)
        names: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            with os.scandir(folder / name) as entries:
                sizes = {e.name: e.stat().st_size for e in entries if _is_image(e.name)}
            files = sorted(sizes)
            if not files:
                raise InputError(
                    f"{folder / name}: a class without an image; see `cyborgs data imagenet`"
                )
            if most is not None and len(files) > most:
                chosen = generator(0, "classes", name).permutation(len(files))[:most]
                files = [files[i] for i in sorted(chosen)]
            names += [f"{name}/{f}" for f in files]
            labels += [label] * len(files)
            for file in files:
                line = f"{name}/{file} {sizes[file]}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None
    if len(classes) < 2:
        raise InputError(f"{folder} needs at least two folders with images, one for each class")
    return Classified(folder, Packed(names), np.array(labels), tuple(classes), digest.hexdigest())


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def central_crop(image: Pixels, short_side: int, crop: int) -> Pixels:
    """An image resized to a short side, and its central square, ``(crop, crop, 3)``, in pixels.

    Bilinear without antialiasing, the long side rounded to the nearest pixel (a half to the even
    one), and an odd margin's extra pixel to the right and below: VirTex's test images, which
    albumentations resizes and cuts by OpenCV.
    """
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    resized = _bilinear(image, round(width * scale), round(height * scale))
    top, left = (resized.shape[0] - crop) // 2, (resized.shape[1] - crop) // 2
    return resized[top : top + crop, left : left + crop]


def _bilinear(image: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


class ClassifiedExamples(Dataset[Example | InputError]):
    """Examples by ``(epoch, position)``: random resized crop, bilinear as VirTex's, and mirroring.

    Bad input comes back as the `InputError` itself.

    Args:
        images: the images.
        crop: side in pixels.
        area: least and greatest share of the image that is cropped.
        seed: of the crops.
    """

    def __init__(self, images: Classified, crop: int, area: Sequence[float], seed: int) -> None:
        self._images = images
        self._crop = crop
        self._seed = seed
        self._views = Views(area=list(area))

    def __getitem__(self, key: tuple[int, int]) -> Example | InputError:
        epoch, position = key
        path = self._images.folder / self._images.names[position]
        try:
            image = read_pixels(path)
        except InputError as error:
            return error
        rng = generator(self._seed, "crop", epoch, position)
        height, width = image.shape[:2]
        # Of the view's choices the crop alone: no colour is changed.
        crop = draw_view(rng, self._views, 0, height=height, width=width).crop
        cut = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        pixels = _bilinear(cut, self._crop, self._crop)
        if crop.flip:
            pixels = pixels[:, ::-1]
        return _example(np.ascontiguousarray(pixels), self._images.labels[position], path)


class CentralCrops(Dataset[Example | InputError]):
    """Central crops of images, in order.

    Bad input comes back as the `InputError` itself.

    Args:
        paths: of the images.
        labels: of each.
        short_side: to which they are resized, in pixels.
        crop: side in pixels.
    """

    def __init__(
        self, paths: Sequence[Path], labels: NDArray[np.int64], short_side: int, crop: int
    ) -> None:
        self._paths = paths
        self._labels = labels
        self._sides = short_side, crop

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> Example | InputError:
        path = self._paths[position]
        try:
            image = read_pixels(path)
        except InputError as error:
            return error
        pixels = np.ascontiguousarray(central_crop(image, *self._sides))
        return _example(pixels, self._labels[position], path)


def _example(pixels: Pixels, label: np.int64, path: Path) -> Example:
    return {"image": pixels, "label": int(label), "name": str(path)}
