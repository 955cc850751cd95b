"""An experiment for tests: two variants and two seeds on a few embedded scenes."""

from cyborgs.config.experiment import merged

TINY = {
    "experiment": "tiny",
    "seeds": [0, 1],
    "baselines": ["initial", "fixed"],
    "base": {
        "rounds": 2,
        "shards": 2,
        "data": {"scenes": {"images": 12, "height": 64, "width": 96}},
        "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
        "views": {"crop": 64},
        "seed_masks": {"kind": "grid"},
        "pretrain": {"epochs": 1, "batch_size": 4, "masks": 4, "schedule": {"kind": "step"}},
        "bootstrap": {"block": "layer2.1", "group": 3, "clusters": [2, 6]},
        "downstream": {"evaluations": ["segmentation"], "segmentation": {"test": 0.5}},
        "compute": {"device": "cpu", "threads": 1, "workers": 0},
    },
    "variants": {"fixed": {"pretrain": {"fixed_masks": True}}, "bootstrapped": None},
}


def tiny(**changes):
    """The mapping of the experiment, with changes."""
    return merged(TINY, changes)
