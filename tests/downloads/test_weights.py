"""`cyborgs data weights`, with a stand-in for Hugging Face's hub that misbehaves."""

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save

from cyborgs.cli import main
from cyborgs.evaluation.sources import find_source
from cyborgs.models.backbones.published import AtAddress
from cyborgs.models.backbones.resnet import ResNets
from cyborgs.models.settings import Model

NAME = "timm/convnext_atto"
REPOSITORY = "timm/convnext_atto.d2_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED = "Access to this is restricted"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    return timm.create_model("convnext_atto")


@pytest.fixture(scope="module")
def content(model):
    return save(model.state_dict(), {"format": "pt"})


class Handler(BaseHTTPRequestHandler):
    """As the hub: files with their hash and commit, and reasons in headers where it gives none."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        server = self.server
        given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(given[1]) if given else 0
        server.requests.append((self.command, self.path, begin))
        if server.always:
            status, code = server.always
            self.end(status, {"X-Error-Code": code})
            return
        body = server.files.get(self.path.rpartition("/")[2])
        if body is None:
            self.end(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        headers = {
            "Content-Length": str(len(body) - begin),
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
        }
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        self.end(206 if begin else 200, headers)
        if self.command == "GET":
            fault = server.faults.pop(0) if server.faults else None
            self.wfile.write(body[begin : (begin + len(body)) // 2] if fault else body[begin:])
            if fault == "hangs":
                server.reached.set()
                server.released.wait(120)

    def end(self, status, headers):
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(content):
    """``files`` by path; ``faults``, one for each file that is sent; ``always``: an error."""
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{served.server_port}"
    served.files = {"model.safetensors": content}
    served.faults, served.requests, served.always = [], [], None
    served.reached, served.released = threading.Event(), threading.Event()
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The server as the hub of this process, with an empty cache."""
    use(server.address, monkeypatch)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Not to the proxy that a machine may have, nor with the token of who runs the tests.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("CYBORGS_ACCEPT_TERMS", raising=False)
    # Pauses before it tries again.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    huggingface_hub.close_session()
    yield server
    huggingface_hub.close_session()


def use(address, monkeypatch):
    constants = huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)


@pytest.fixture
def torch_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


@pytest.fixture
def fetch(capsys):
    """Run the command; returns its status, and what it prints and says."""

    def run(name, *arguments):
        status = main(["data", "weights", name, *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def refused(fetch, name, *parts):
    """With one line at the end that has all of the parts."""
    status, out, err = fetch(name, "--accept-terms")
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("cyborgs data weights: error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in last


USE = f"model:\n  architecture: {NAME}\n  weights: pretrained\n"


def test_before_the_terms_are_accepted_they_are_shown_and_nothing_is_fetched(hub, fetch, tmp_path):
    status, out, err = fetch(NAME)
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"{NAME}: {hub.address}/{REPOSITORY}",
        "licence: apache-2.0",
        f"stored in: {tmp_path}/hub/models--timm--convnext_atto.d2_in1k",
        f"cyborgs data weights: error: {NAME}: fetching the weights accepts their terms: give "
        "--accept-terms, or set CYBORGS_ACCEPT_TERMS=1",
    ]
    assert hub.requests == []
    assert not (tmp_path / "hub").exists()


def test_what_is_fetched_is_what_pretrained_reads(hub, fetch, model):
    section = Model(architecture=NAME, weights="pretrained")
    with pytest.raises(Exception, match=f"`cyborgs data weights {NAME}` fetches them"):
        _ = section.weights_file
    status, out, err = fetch(NAME, "--accept-terms")
    assert (status, out) == (0, USE)
    path = section.weights_file
    assert f"weights: {path}\n" in err
    found = find_source("imagenet", NAME).load(0).state_dict()
    for name, value in found.items():
        assert torch.equal(value, model.state_dict()[name.removeprefix("model.")])
    # Once more: no word of the terms, and no network.
    asked = len(hub.requests)
    assert fetch(NAME) == (0, USE, f"weights: {path} is there already\n")
    assert len(hub.requests) == asked


def test_terms_that_are_accepted_by_the_environment(hub, fetch, monkeypatch):
    monkeypatch.setenv("CYBORGS_ACCEPT_TERMS", "1")
    assert fetch(NAME)[:2] == (0, USE)


def test_a_repository_without_safetensors_has_a_torch_file(hub, fetch, model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "w.bin")
    hub.files = {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes()}
    status, out, err = fetch(NAME, "--accept-terms")
    assert (status, out) == (0, USE)
    assert "pytorch_model.bin\n" in err


def test_a_cut_connection_is_continued(hub, fetch, content, monkeypatch):
    """After its last whole piece: 10 MB, unless a test wants less."""
    piece = 1 << 20
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", piece)
    hub.faults = ["cuts"]
    assert fetch(NAME, "--accept-terms")[0] == 0
    begins = [begin for command, _, begin in hub.requests if command == "GET"]
    assert begins == [0, len(content) // 2 // piece * piece]


@pytest.mark.parametrize(
    ("always", "told"),
    [
        (
            (403, "GatedRepo"),
            "needs a login: ask for access on that page, then run `hf auth login`",
        ),
        ((401, "RepoNotFound"), "does not exist or needs a login: look at the page"),
        ((404, "RepoNotFound"), "does not exist or needs a login: look at the page"),
        ((404, "EntryNotFound"), "has no model.safetensors and no pytorch_model.bin"),
        ((503, ""), "503"),
    ],
)
def test_a_hub_that_does_not_give_them_is_one_line(hub, fetch, always, told):
    hub.always = always
    refused(fetch, NAME, f"{hub.address}/{REPOSITORY}", told)


def test_no_network_is_one_line(hub, fetch, monkeypatch):
    use("http://127.0.0.1:1", monkeypatch)
    refused(fetch, NAME, f"http://127.0.0.1:1/{REPOSITORY}: ", "refused; check the connection")


def test_offline_mode_is_obeyed(hub, fetch, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(fetch, NAME, "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set", "unset it")
    assert hub.requests == []


def test_a_full_disk_is_one_line(hub, fetch, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    refused(fetch, NAME, f"{tmp_path}/hub/models--timm--", ": No space left on device")


def test_a_file_that_does_not_fit_is_one_line(hub, fetch, tmp_path):
    other = timm.create_model("convnext_atto", depths=(1, 1, 1, 1))
    hub.files = {"model.safetensors": save(other.state_dict())}
    folder = f"{tmp_path}/hub/models--timm--convnext_atto.d2_in1k"
    again = f"to fetch it again, remove {folder}"
    refused(fetch, NAME, f"does not fit {NAME}: stages.0.blocks.1.", "is missing", again)
    status, _, err = fetch(NAME)
    assert (status, "is there already" in err, again in err) == (2, True, True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm/convnext_ato", "is not one of timm's; did you mean timm/convnext_atto"),
        ("convnext_atto", "architecture convnext_atto is unknown; did you mean timm/convnext_t"),
        (f"{NAME}.nothing", f"timm has no weights nothing of it; take {REPOSITORY}"),
        ("timm/mixer_s16_224", "does not take images of any size"),
        ("timm/convnext_atto_rms", "timm publishes no weights of timm/convnext_atto_rms; take a"),
        (
            "timm/resnext101_32x4d.untrained",
            "no weights of timm/resnext101_32x4d.untrained; take timm/resnext101_32x4d.fb_",
        ),
    ],
)
def test_names_without_weights_are_one_line(name, told, fetch):
    refused(fetch, name, told)


@pytest.mark.parametrize("architecture", ResNets().names())
def test_torchvisions_weights_are_those_of_its_first_recipe(architecture, torch_cache):
    published = ResNets().published(architecture)
    assert published.page.startswith("https://download.pytorch.org/models/")
    assert re.fullmatch(r"[0-9a-f]{8}", published.digest)
    assert published.place.parent == torch_cache


@pytest.fixture
def resnet(server, torch_cache, monkeypatch, tmp_path):
    """ResNet-18's published weights on the server, with what its address says of their bytes."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18()
    file = tmp_path / "w.pth"
    torch.save(network.state_dict(), file)
    body = file.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:8]
    server.files[f"resnet18-{digest}.pth"] = body
    address = f"{server.address}/resnet18-{digest}.pth"
    published = AtAddress(architecture="resnet18", address=address, digest=digest)
    monkeypatch.setattr(ResNets, "published", lambda *_: published)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return network


def test_torchvisions_weights(server, resnet, fetch, torch_cache):
    status, _, err = fetch("resnet18")
    assert status == 2
    assert "licence: not stated\n" in err
    assert server.requests == []
    status, out, err = fetch("resnet18", "--accept-terms")
    assert (status, out) == (0, "model:\n  architecture: resnet18\n  weights: pretrained\n")
    assert next(torch_cache.iterdir()) == Path(re.search(r"weights: (.*)", err)[1])
    found = find_source("imagenet", "resnet18").load(0)
    assert torch.equal(found.state_dict()["conv1.weight"], resnet.conv1.weight)


def test_torchvisions_weights_that_are_cut_off_or_not_there(server, resnet, fetch, torch_cache):
    server.faults = ["cuts"]
    refused(fetch, "resnet18", "resnet18-", "invalid hash value", "start again")
    assert not list(torch_cache.iterdir())
    files, server.files = server.files, {}
    refused(fetch, "resnet18", "resnet18-", "the server says 404")
    server.files = files
    assert fetch("resnet18", "--accept-terms")[0] == 0


@pytest.mark.slow
def test_environment_variables_and_ctrl_c(server, tmp_path, content):
    """A new process reads HF_HOME and HF_ENDPOINT; interrupted, it leaves nothing half done."""
    variables = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.address, "no_proxy": "127.0.0.1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "CYBORGS_"))}
    command = [sys.executable, "-m", "cyborgs", "data", "weights", NAME, "--accept-terms"]
    started = {"env": environment | variables, "text": True}
    server.faults = ["hangs"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, **started) as process:
        assert server.reached.wait(120)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("cyborgs data weights: interrupted (SIGINT)")
    assert not list(tmp_path.glob("hub/*/blobs/*"))
    done = subprocess.run(command, stdout=subprocess.PIPE, **started, check=True)
    assert done.stdout == USE
    (path,) = tmp_path.glob("hub/*/snapshots/*/model.safetensors")
    assert path.read_bytes() == content
