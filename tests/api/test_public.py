"""What `import cyborgs` gives: names that are there when they are asked for, and not before."""

import subprocess
import sys
from pathlib import Path

import pytest

import cyborgs

PACKAGE = Path(cyborgs.__file__).parent


def test_importing_loads_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import cyborgs; dir(cyborgs)\n"
        "print({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)\n"
        "cyborgs.open_run; cyborgs.InputError; print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, torch = shown.stdout.splitlines()
    assert loaded == "{'cyborgs'}"
    # Who reads tables and masks does not wait for torch either.
    assert torch == "False"


def test_every_name_is_there_and_described():
    assert sorted(cyborgs.__all__) == sorted(cyborgs._HOMES)
    for name in cyborgs.__all__:
        assert getattr(cyborgs, name).__doc__
        assert name in dir(cyborgs)


def test_no_name_is_that_of_a_room():
    """Importing a room would put it in the place of the name."""
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    assert not rooms & set(cyborgs.__all__)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'cyborgs' has no attribute 'load_mask'"):
        _ = cyborgs.load_mask


def test_its_types_are_told():
    assert (PACKAGE / "py.typed").exists()
