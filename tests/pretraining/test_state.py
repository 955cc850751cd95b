"""States: bytes, damage, and what belongs to whom."""

import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.pretraining.state import TrainingState, load_state, require_model, save_state

MODEL = {"architecture": "resnet18", "hidden": 32, "projection": 8}


def a_state(**changes):
    generator = torch.Generator().manual_seed(0)
    content = {
        "model": MODEL,
        "round": 2,
        "step": 40,
        "online": {"backbone.conv1.weight": torch.randn(4, 3, generator=generator)},
        "target": {"backbone.conv1.weight": torch.randn(4, 3, generator=generator)},
        "momentum_buffers": {"backbone.conv1.weight": torch.randn(4, 3, generator=generator)},
        "scaler": {"scale": 65536.0, "_growth_tracker": 7},
        "provenance": {"stage": "pretrain"},
    }
    return TrainingState(**(content | changes))


def test_round_trip(tmp_path):
    save_state(tmp_path / "s.pt", a_state())
    loaded, expected = load_state(tmp_path / "s.pt"), a_state()
    assert (loaded.model, loaded.round, loaded.step) == (MODEL, 2, 40)
    assert loaded.provenance == {"stage": "pretrain"}
    assert loaded.scaler == {"scale": 65536.0, "_growth_tracker": 7}
    for name in ("online", "target", "momentum_buffers"):
        for k, v in getattr(expected, name).items():
            assert torch.equal(getattr(loaded, name)[k], v)
    assert list(loaded.backbone()) == ["conv1.weight"]


def test_the_same_state_gives_the_same_bytes_under_any_name_and_layout(tmp_path):
    save_state(tmp_path / "one.pt", a_state())
    other = a_state()
    # The values in another memory layout, as training with channels_last leaves them.
    other.online = {k: v.t().contiguous().t() for k, v in other.online.items()}
    save_state(tmp_path / "other name.pt", other)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()


def test_a_truncated_state_is_named(tmp_path):
    path = tmp_path / "s.pt"
    save_state(path, a_state())
    for size in (0, 1, 100, path.stat().st_size - 1):
        cut = tmp_path / f"cut-{size}.pt"
        cut.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=rf"state .*cut-{size}\.pt is damaged") as caught:
            load_state(cut)
        assert "\n" not in str(caught.value)


def test_a_state_with_changed_bytes_is_named(tmp_path):
    path = tmp_path / "s.pt"
    save_state(path, a_state())
    content = bytearray(path.read_bytes())
    weights = a_state().online["backbone.conv1.weight"].numpy().tobytes()
    content[content.index(weights) + 5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_state(path)


def test_weights_that_an_archive_marks_as_a_folder_are_refused(tmp_path):
    """PyTorch would leave them unset, and say nothing."""
    path = tmp_path / "s.pt"
    save_state(path, a_state())
    content = bytearray(path.read_bytes())
    # The last entry of the archive's directory that is of a tensor; its attributes' first byte.
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/") + 1)
    content[entry + 38] |= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged .*marked as a folder"):
        load_state(path)


def test_other_checkpoints_are_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="another program"):
        load_state(tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="does not exist"):
        load_state(tmp_path / "nothing.pt")


def test_another_version_is_refused(tmp_path):
    torch.save({"format": "cyborgs-state", "version": 99}, tmp_path / "new.pt")
    with pytest.raises(InputError, match="format version 99"):
        load_state(tmp_path / "new.pt")


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"format": "cyborgs-state", "payload": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(InputError):
        load_state(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_another_architecture_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"model\.architecture resnet18, the configuration resnet50"
    ):
        require_model(tmp_path / "s.pt", a_state(), MODEL | {"architecture": "resnet50"})
