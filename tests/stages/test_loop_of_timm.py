"""The loop with backbones of timm: seed, training, masks, export; and on from where it stopped."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Masks
from cyborgs.pretraining.state import load_state
from cyborgs.pretraining.trainer import Trainer
from cyborgs.stages import bootstrap, export, seed_state
from tests.stages.conftest import COMPUTE, SETTINGS, train

ADAMW = {"adamw": {"layer_decay": 0.9}, "base_learning_rate": 0.03}
# A convolutional network, a transformer, and one with BatchNorm and TensorFlow's blocks.
FAMILIES = {
    "timm/convnext_atto": ("stages.1", ADAMW),
    "timm/vit_tiny_patch16_224": ("blocks.6", ADAMW),
    "timm/efficientnet_lite0": ("blocks.2.0", {}),
}


def config_of(tiny, architecture):
    block, optimiser = FAMILIES[architecture]
    return tiny.config(
        model=SETTINGS["model"] | {"architecture": architecture},
        bootstrap=SETTINGS["bootstrap"] | {"block": block},
        pretrain=SETTINGS["pretrain"] | optimiser,
    )


@pytest.fixture(scope="module", params=FAMILIES)
def trained_timm(request, tiny, tmp_path_factory):
    config = config_of(tiny, request.param)
    folder = tmp_path_factory.mktemp("timm")
    seed_state.run(config, folder / "round-00.pt")
    train(tiny, folder / "round-01.pt", config=config, state=folder / "round-00.pt")
    return config, folder


@pytest.mark.slow
def test_a_round_trains_makes_masks_and_gives_timm_its_network(trained_timm, tiny, tmp_path):
    config, folder = trained_timm
    before, after = (load_state(folder / f"round-0{n}.pt") for n in range(2))
    assert after.step == 6
    moved = [k for k in before.online if not torch.equal(before.online[k], after.online[k])]
    assert any(name.startswith("backbone.model.") for name in moved)
    assert after.provenance["libraries"]["timm"] == timm.__version__

    bootstrap.run(
        config,
        number=1,
        images=tiny.images,
        index_path=tiny.index,
        state_path=folder / "round-01.pt",
        out=tmp_path / "shard-0.h5",
        shard=0,
        compute=COMPUTE,
    )
    index = read_index(tiny.index)
    masks = Masks(str(tmp_path / "shard-0.h5"), index)
    for position, entry in enumerate(index.entries):
        labels = masks.read(position)
        grid = grid_size(entry.height, masks.stride), grid_size(entry.width, masks.stride)
        assert labels.shape == grid
    assert max(len(np.unique(masks.read(p))) for p in range(13)) > 1
    # A next round takes them, and weights that are given.
    train(
        tiny,
        tmp_path / "round-02.pt",
        number=2,
        config=config,
        state=folder / "round-01.pt",
        masks=tmp_path / "shard-0.h5",
    )

    name = config.model.architecture.removeprefix("timm/")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        for form, suffix in (("timm", ".pth"), ("safetensors", ".safetensors")):
            out = tmp_path / f"backbone{suffix}"
            export.run(folder / "round-01.pt", out, form)
            read = torch.load(out)["state_dict"] if form == "timm" else load_file(out)
            network = timm.create_model(name, num_classes=0)
            network.load_state_dict(read, strict=True)
            given = config.model_copy(
                update={"model": config.model.model_copy(update={"weights": str(out)})}
            )
            seed_state.run(given, tmp_path / "again.pt")
            again = load_state(tmp_path / "again.pt")
            for key, value in after.backbone().items():
                assert torch.equal(again.backbone()[key], value), key
            assert network.eval()(images).isfinite().all()


@pytest.mark.slow
def test_an_interrupted_round_continues_to_the_same_bytes(
    trained_timm, tiny, tmp_path, monkeypatch
):
    config, folder = trained_timm
    step = Trainer.train_step

    def fail_at_four(self, *arguments):
        if self.step == 4:
            raise KeyboardInterrupt
        return step(self, *arguments)

    given = {"config": config, "state": folder / "round-00.pt"}
    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail_at_four)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tmp_path / "s.pt", compute=always, **given)
    taken = []
    monkeypatch.setattr(Trainer, "train_step", lambda s, *a: taken.append(s.step) or step(s, *a))
    assert train(tiny, tmp_path / "s.pt", **given) == (folder / "round-01.pt").read_bytes()
    assert taken == [4, 5]


@pytest.mark.parametrize("form", ["detectron2", "published"])
def test_formats_of_resnets_alone_are_refused(form, tiny, tmp_path, refused):
    config = config_of(tiny, "timm/vit_tiny_patch16_224")
    seed_state.run(config, tmp_path / "s.pt")
    out = tmp_path / ("b.pkl" if form == "detectron2" else "b.pth")
    with refused(f"--format {form}: timm/vit_tiny_patch16_224 is not a ResNet"):
        export.run(tmp_path / "s.pt", out, form)
    assert not out.exists()
