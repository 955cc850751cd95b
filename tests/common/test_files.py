"""Files that are whole or absent, and the record of where they came from."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from cyborgs.common.files import (
    absence,
    atomic_write,
    exclusive,
    require_file,
    require_outputs,
    sha256,
)
from cyborgs.run.provenance import VERSIONS, provenance


def test_the_file_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_older_file_is_replaced_at_the_end_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old and longer")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old and longer"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failure_leaves_nothing_but_the_older_file(tmp_path, error, old):
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(IsADirectoryError), atomic_write(path):
        path.mkdir()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_that_open_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "opened").write_text("x")
        with atomic_write(tmp_path / "written") as temporary:
            temporary.write_text("x")
    finally:
        after = os.umask(before)
    assert after == umask
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "opened").stat().st_mode


def test_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def watch_replace(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert events == ["file", "rename", "folder"]


def test_a_place_that_cannot_be_written_is_named(tmp_path, refused):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "a.txt"
    with refused("cannot write", str(path)), atomic_write(path):
        pytest.fail("the block must not run")


def test_a_lock_is_held_by_one_process_until_it_dies(tmp_path, capsys):
    """Killed, it cannot let go of it itself."""
    path = tmp_path / "work/x.lock"
    program = (
        "import sys, time; from pathlib import Path; from cyborgs.common.files import exclusive\n"
    )
    program += "with exclusive(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    threading.Timer(1, holder.kill).start()
    with exclusive(path, "the state"):
        assert holder.wait() == -9
    assert "another process makes the state: waiting for it to end" in capsys.readouterr().err
    assert not path.exists()
    with exclusive(path, "the state"):
        assert capsys.readouterr().err == ""


def test_who_waited_for_a_lock_also_waits_for_its_holder_to_exit(tmp_path):
    """A shell does something more after its command, which must come first."""
    program = (
        "import sys, time; from pathlib import Path; from cyborgs.common.files import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(0.5)\n"
        "time.sleep(1.5)"
    )
    after = tmp_path / "after"
    shell = subprocess.Popen(
        [
            "sh",
            "-c",
            f'"$0" -c "$1" "$2" && touch {after}',
            sys.executable,
            program,
            tmp_path / "l",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout.readline() == "held\n"
    with exclusive(tmp_path / "l", "the state"):
        time.sleep(0.3)  # of the shell; the process alone would let go 1.5 seconds earlier
        assert after.exists()
    shell.wait()


def test_a_lock_that_was_removed_while_waiting_is_taken_anew(tmp_path):
    path = tmp_path / "x.lock"
    order = []

    def work(number):
        with exclusive(path, "x"):
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]
    assert not path.exists()


def test_something_may_be_done_while_waiting(tmp_path):
    path = tmp_path / "x.lock"
    calls = []
    with ExitStack() as first:
        first.enter_context(exclusive(path, "x"))

        def meanwhile():
            calls.append(path.exists())
            if len(calls) == 3:
                first.close()

        with exclusive(path, "x", meanwhile):
            pass
    assert calls == [True] * 3


# Lustre without `-o flock` has ENOSYS, NFS ENOLCK or EOPNOTSUPP, old NFS servers ENOTSUPP.
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys, number):
    def fail(*given):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with exclusive(tmp_path / "x.lock", "the state"):
        pass
    assert "make sure that no other process writes" in capsys.readouterr().err


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_missing_file_is_named_with_what_it_should_have_been(tmp_path, refused):
    (tmp_path / "a").write_text("x")
    assert require_file(tmp_path / "a", "index") == tmp_path / "a"
    with refused(f"index {tmp_path / 'b'} does not exist"):
        require_file(tmp_path / "b", "index")
    with refused(f"index {tmp_path} is a folder; name a file"):
        require_file(tmp_path, "index")
    assert absence(tmp_path / "a", "folder") == "is a file; name a folder"
    os.mkfifo(tmp_path / "pipe")
    assert absence(tmp_path / "pipe", "file") == "is neither file nor folder; name a file"


@pytest.mark.parametrize("stage", sorted(VERSIONS))
def test_provenance_depends_on_its_arguments_and_versions_alone(tmp_path, monkeypatch, stage):
    first = provenance(stage, {"seed": 1}, {"index": "ab"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert provenance(stage, {"seed": 1}, {"index": "ab"}) == first
    assert provenance(stage, {"seed": 2}, {"index": "ab"}) != first
    assert provenance(stage, {"seed": 1}, {"index": "cd"}) != first


def test_provenance_holds_settings_inputs_and_versions_and_no_path():
    record = provenance("index", {"seed": 1}, {"images": "ab"})
    assert set(record) == {"stage", "stage_version", "config", "inputs", "libraries"}
    assert {"cyborgs", "torch", "numpy"} <= set(record["libraries"])
    assert os.sep not in json.dumps(record)


def test_a_folder_is_not_written_over(tmp_path, refused):
    (tmp_path / "out.png").mkdir()
    with refused("out.png: it is a folder"), atomic_write(tmp_path / "out.png"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_a_full_disk_is_told_with_the_file(tmp_path, refused):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with refused(f"cannot write {path}: ", "make room"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_outputs_that_can_be_written(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("x")
    new = tmp_path / "new/folder/a.json"
    require_outputs({"--out": old, "--json": new}, [tmp_path / "input", tmp_path])
    assert not new.parent.exists()


def test_an_output_that_is_an_input_or_another_output(tmp_path, refused):
    given = tmp_path / "a.pt"
    given.write_text("x")
    (tmp_path / "link.pt").symlink_to(given)
    for path in (given, tmp_path / "link.pt", tmp_path / "x/../a.pt"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with refused("--out:", "is an input of this command too"):
            require_outputs({"--out": path}, [given])
    with refused("--json:", "is --out too"):
        require_outputs({"--out": tmp_path / "b", "--json": tmp_path / "x/../b"}, [])


def test_an_output_below_a_file(tmp_path, refused):
    (tmp_path / "file").write_text("x")
    with refused("--out: cannot write", f"{tmp_path / 'file'} is not a folder"):
        require_outputs({"--out": tmp_path / "file/sub/a.json"}, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_is_not_permitted(tmp_path, refused):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0)
    with refused("index", "cannot be read: no permission"):
        require_file(tmp_path / "a", "index")
    tmp_path.chmod(0o500)
    with refused("--out", "no permission to write"):
        require_outputs({"--out": tmp_path / "b"}, [])
    tmp_path.chmod(0o700)
