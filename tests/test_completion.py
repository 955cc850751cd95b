"""Completion in a shell, as the shell does it."""

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("shtab", reason="shtab is not installed")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A folder with each shell's script."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh"):
        command = [sys.executable, "-m", "cyborgs", "completion", shell]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (folder / shell).write_text(shown)
    return folder


@pytest.fixture
def completed(scripts, tmp_path):
    """What bash offers for the last of some words, in a folder with a file and a folder."""
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mines").mkdir()

    def complete(*words):
        script = (
            f'eval "$(cat {scripts}/bash)"\n'
            f"COMP_WORDS=(cyborgs {' '.join(repr(word) for word in words)})\n"
            f"COMP_CWORD={len(words)}\n"
            "_shtab_cyborgs\n"
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        shown = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return {word.rstrip() for word in shown.stdout.splitlines()}

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["exp"], {"export", "experiment"}),
        (["masks", "co"], {"compare"}),
        (["pretrain", "--leave"], {"--leave-minutes"}),
        (["pretrain", "--device", "cu"], {"cuda"}),
        (["config", "mi"], {"mine.yaml", "mines"}),
        (["pretrain", "--config", "mine."], {"mine.yaml"}),
        (["pretrain", "--images", "mi"], {"mines"}),
        (["report", "mi"], {"mines"}),
        (["track", "mines", "--to", "w"], {"wandb"}),
        (["completion", ""], {"bash", "zsh"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(completed, words, offered):
    found = {word.rstrip("/") for word in completed(*words)}
    assert offered <= found
    assert all(word.startswith(words[-1]) for word in found)
    if words[-1].startswith("mi"):
        assert found == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_knows_the_command(scripts):
    script = (
        "autoload -Uz compinit && compinit -D -u\n"
        f'eval "$(cat {scripts}/zsh)"\n'
        "echo $_comps[cyborgs]"
    )
    shown = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "_shtab_cyborgs\n"


def test_nothing_else_waits_for_it():
    code = (
        "import sys\nfrom cyborgs.cli import main\n"
        "try: main(['pretrain', '--help'])\nexcept SystemExit: pass\n"
        "print('shtab' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "False"
