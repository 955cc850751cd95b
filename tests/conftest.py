"""What tests of several rooms share."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from cyborgs.common.errors import InputError
from tests.runs import snakemake

# Under `nohup`, processes that tests start would ignore the signal too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def refused() -> Callable[..., AbstractContextManager[None]]:
    """A context that must end in an `InputError` of one line with all of the given parts."""

    @contextmanager
    def check(*parts: str) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert part in message

    return check


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    """Write an image, RGB or random pixels of a size, in the format of the path's suffix."""

    def write(path: Path, pixels: np.ndarray | tuple[int, int]) -> Path:
        if isinstance(pixels, tuple):
            size = (*pixels, 3)
            pixels = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, pixels[..., ::-1])[1].tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which the tiny run has finished; tests must not change it."""
    folder = tmp_path_factory.mktemp("workflow")
    snakemake(folder)
    return folder


@pytest.fixture
def interrupted(finished, tmp_path):
    """A copy of the run as it was after its first round, time stamps and all."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    results = folder / "results/tiny"
    for name in ("states/round-02.pt", "backbone.pth", "quality.tsv", "report.html"):
        (results / name).unlink()
    shutil.rmtree(results / "quality")
    return folder
