"""Downloads from a server on this machine that serves small archives, and misbehaves."""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cyborgs.cli import main
from cyborgs.common.errors import InputError
from cyborgs.downloads import fetching, public, unpacking
from cyborgs.downloads.public import DATA_SETS, Archive, DataSet, Part
from cyborgs.stages import download

# Larger than what a socket holds back, so that a cut connection has left something.
PHOTO = np.random.default_rng(0).bytes(3 << 20)


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return stream.getvalue()


@pytest.fixture
def server():
    """A server of files by their paths; ``server.faults`` are what it does wrong, one a request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = served.files.get(self.path)
            fault = served.faults.pop(0) if served.faults else None
            given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin = int(given[1]) if given and fault != "ignores Range" else 0
            served.requests.append((self.path, begin))
            if content is None or isinstance(fault, int):
                self.send_error(fault or 404)
                return
            if fault == "page":
                content, begin = b"<!DOCTYPE html><title>Quota exceeded</title>", 0
            if fault == "wrong bytes":
                content = bytes(len(content))
            part = content[begin:]
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if fault in ("cuts", "hangs"):
                part = part[: len(part) // 2]
            self.wfile.write(part)
            if fault == "hangs":
                served.released.wait(120)

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.files, served.faults, served.requests = {}, [], []
    served.released = threading.Event()
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()


@pytest.fixture
def offer(server, monkeypatch):
    """Put an archive on the server, and return how it is known."""
    monkeypatch.setattr(fetching.time, "sleep", lambda _: None)
    # Not to the proxy that a machine may have.
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def put(name, content):
        server.files[f"/{name}"] = content
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        return Archive(url, len(content), hashlib.md5(content).hexdigest())

    return put


@pytest.fixture
def coco(offer, monkeypatch):
    """A data set of two parts, one of two archives."""
    photos = zipped(**{"train/a.jpg": PHOTO, "train/deep/ü.jpg": b"2", "else/x": b"3"})
    first = tarred({"kit/VOC/A/1.xml": b"1", "kit/notes": b"-"})
    second = tarred({"kit/VOC/A/2.xml": b"2"})
    parts = {
        "train": Part("coco/train", (offer("train.zip", photos),), "train"),
        "voc": Part("voc", (offer("1.tar", first), offer("2.tar", second)), "kit/VOC"),
    }
    data_set = DataSet(parts, "terms: be kind")
    monkeypatch.setitem(DATA_SETS, "coco", data_set)
    return data_set


def files_in(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


WHOLE = {"coco/train/a.jpg": PHOTO, "coco/train/deep/ü.jpg": b"2"}
WHOLE |= {"voc/A/1.xml": b"1", "voc/A/2.xml": b"2"}


def test_everything_is_put_in_its_place_once(coco, server, tmp_path, capsys):
    download.run("coco", tmp_path, accept_terms=True)
    assert files_in(tmp_path) == WHOLE
    assert capsys.readouterr().err.startswith("terms: be kind\n")
    asked = len(server.requests)
    download.run("coco", tmp_path, accept_terms=True)
    assert len(server.requests) == asked == 3
    assert "is there already" in capsys.readouterr().err


def test_some_parts(coco, tmp_path, refused):
    download.run("coco", tmp_path, ["voc"], accept_terms=True)
    assert set(files_in(tmp_path)) == {"voc/A/1.xml", "voc/A/2.xml"}
    with refused("coco has no part val: choose of train, voc"):
        download.run("coco", tmp_path, ["val"], accept_terms=True)


def test_nothing_is_fetched_before_the_terms_are_accepted(coco, server, tmp_path, capsys):
    assert main(["data", "download", "coco", "--out", str(tmp_path / "x")]) == 2
    shown = capsys.readouterr().err
    assert "terms: be kind" in shown
    assert "--accept-terms" in shown
    assert server.requests == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "faults", [["cuts"], ["cuts", "cuts", 503], [500, "cuts", "ignores Range"], [429, "cuts"]]
)
def test_a_server_that_fails_for_a_while(coco, server, tmp_path, faults):
    server.faults[:] = faults
    download.run("coco", tmp_path, accept_terms=True)
    assert files_in(tmp_path) == WHOLE
    assert server.faults == []


def test_a_cut_connection_is_continued_where_it_was(coco, server, tmp_path):
    server.faults[:] = ["cuts"]
    download.run("coco", tmp_path, ["train"], accept_terms=True)
    (_, first), (_, second) = server.requests
    assert (first, second) == (0, len(server.files["/train.zip"]) // 2)


def test_a_server_that_stays_away_is_named_and_what_came_is_kept(coco, server, tmp_path, refused):
    server.faults[:] = ["cuts", *[503] * 5]
    with refused("train.zip: the server says 503", "5 times in a row", "are kept in"):
        download.run("coco", tmp_path, accept_terms=True)
    assert not (tmp_path / "coco").exists()
    download.run("coco", tmp_path, accept_terms=True)
    assert server.requests[-3][1] == len(server.files["/train.zip"]) // 2
    assert files_in(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (404, "the server says 404"),
        (403, "the server says 403"),
        ("page", "the server offers 44 bytes, not the"),
        ("wrong bytes", "are not those of this file (MD5"),
    ],
)
def test_another_file_than_this_is_refused(coco, server, tmp_path, fault, message, refused):
    server.faults[:] = [fault]
    with refused("/train.zip: ", message):
        download.run("coco", tmp_path, accept_terms=True)
    assert files_in(tmp_path) == {}
    download.run("coco", tmp_path, accept_terms=True)
    assert files_in(tmp_path) == WHOLE


def test_no_server_at_all(coco, server, tmp_path, monkeypatch, refused):
    archive = Archive("http://127.0.0.1:1/x.zip", 10, "")
    with refused("http://127.0.0.1:1/x.zip: no connection (", "refused", "start again later"):
        fetching.fetch(archive, tmp_path)


EVIL = {
    "upwards.zip": zipped(**{"train/a.jpg": b"1", "train/../../x": b"2"}),
    "absolute.zip": zipped(**{"train/a.jpg": b"1", "/tmp/x": b"2"}),
    "windows.zip": zipped(**{"train/a.jpg": b"1", "train\\..\\x": b"2"}),
    "upwards.tar": tarred({"train/a.jpg": b"1", "train/../../x": b"2"}),
    "absolute.tar": tarred({"train/a.jpg": b"1", "/tmp/x": b"2"}),
    "link.tar": tarred({"train/a": (tarfile.SYMTYPE, "/etc"), "train/a/x": b"1"}),
    "hard.tar": tarred({"train/a": (tarfile.LNKTYPE, "/etc/passwd")}),
    "device.tar": tarred({"train/a": (tarfile.CHRTYPE, "")}),
}


@pytest.mark.parametrize("name", EVIL)
def test_an_archive_that_leads_out_of_its_folder_writes_nothing(offer, tmp_path, name, monkeypatch):
    part = Part("coco/train", (offer(name, EVIL[name]),), "train")
    monkeypatch.setitem(DATA_SETS, "coco", DataSet({"train": part}, ""))
    with pytest.raises(InputError, match=r"leads out of the folder|neither file nor folder"):
        download.run("coco", tmp_path / "out", accept_terms=True)
    # The archive is kept: it is the one that was asked for.
    assert set(files_in(tmp_path)) == {f"out/.archives/{name}"}


def test_a_link_in_a_zip_is_refused(tmp_path, refused):
    info = zipfile.ZipInfo("train/a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with refused("train/a is neither file nor folder"):
        unpacking.unpack(tmp_path / "x.zip", "train", tmp_path / "out")


@pytest.mark.parametrize("content", [EVIL["upwards.zip"][:-9], b"no archive", b"", PHOTO])
def test_a_damaged_archive_is_named(tmp_path, content, refused):
    (tmp_path / "x.zip").write_bytes(content)
    with refused(f"{tmp_path / 'x.zip'} is damaged", "delete it"):
        unpacking.unpack(tmp_path / "x.zip", "train", tmp_path / "out")


def test_damage_inside_an_archive_is_found(tmp_path, refused):
    content = bytearray(zipped(**{"train/a.jpg": PHOTO}))
    content[5000] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with refused("x.zip is damaged", "CRC"):
        unpacking.unpack(tmp_path / "x.zip", "train", tmp_path / "out")


def test_an_archive_of_something_else_is_named(tmp_path, refused):
    (tmp_path / "x.zip").write_bytes(zipped(**{"val/a.jpg": b"1"}))
    with refused("x.zip holds nothing in train/"):
        unpacking.unpack(tmp_path / "x.zip", "train", tmp_path / "out")


def test_room_is_asked_for_first(coco, server, tmp_path, monkeypatch, refused):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage(9, 9, 1000))
    with refused(str(tmp_path), "GB are needed for coco", "0.0 GB are free", "make room"):
        download.run("coco", tmp_path, accept_terms=True)
    assert server.requests == []


def test_a_killed_download_goes_on(coco, server, tmp_path):
    """Killed by -9 with half of a file there."""
    server.faults[:] = ["hangs"]
    archive, folder = coco.parts["train"].archives[0], str(tmp_path / ".archives")
    code = (
        "from pathlib import Path; from cyborgs.downloads import fetching, public;"
        f"fetching.fetch(public.{archive!r}, Path({folder!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    partial = tmp_path / ".archives/train.zip.part"
    try:
        while not (partial.exists() and partial.stat().st_size):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    server.released.set()
    have = partial.stat().st_size
    download.run("coco", tmp_path, ["train"], accept_terms=True)
    assert server.requests[-1] == ("/train.zip", have)
    assert files_in(tmp_path)["coco/train/a.jpg"] == PHOTO


def test_what_an_unpacking_that_was_killed_left_is_removed(coco, tmp_path):
    (tmp_path / ".voc.part/A").mkdir(parents=True)
    (tmp_path / ".voc.part/A/half.xml").write_bytes(b"?")
    download.run("coco", tmp_path, ["voc"], accept_terms=True)
    assert set(files_in(tmp_path)) == {"voc/A/1.xml", "voc/A/2.xml"}


def test_the_table_is_sound():
    archives = [a for d in public.DATA_SETS.values() for p in d.parts.values() for a in p.archives]
    assert len(archives) == 6
    assert len({a.md5 for a in archives}) == 6
    for archive in archives:
        assert re.fullmatch(r"[0-9a-f]{32}", archive.md5)
        assert archive.url.startswith("http")
        assert archive.file.endswith((".zip", ".tar"))
