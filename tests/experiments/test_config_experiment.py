"""The file of an experiment: what it may say, and what is refused before anything runs."""

import pytest

from cyborgs.common.errors import InputError
from cyborgs.config.experiment import merged, parse_experiment
from tests.experiments.experiments import tiny


def refusal(mapping):
    with pytest.raises(InputError) as caught:
        parse_experiment(mapping)
    return str(caught.value)


def test_a_variant_is_the_base_with_its_changes():
    experiment = parse_experiment(tiny())
    assert list(experiment.variants) == ["fixed", "bootstrapped"]
    assert experiment.variants["fixed"].pretrain.fixed_masks
    assert not experiment.variants["bootstrapped"].pretrain.fixed_masks
    assert experiment.variants["fixed"].pretrain.batch_size == 4
    assert experiment.variants["bootstrapped"] == experiment.base


def test_a_section_of_another_kind_takes_the_place_of_the_whole():
    base = {"seed_masks": {"kind": "felzenszwalb", "scale": 300}, "views": {"crop": 96}}
    assert merged(base, {"seed_masks": {"kind": "grid"}})["seed_masks"] == {"kind": "grid"}
    assert merged(base, {"seed_masks": {"scale": 100}})["seed_masks"]["kind"] == "felzenszwalb"
    assert merged(base, {"seed_masks": {"kind": "felzenszwalb", "scale": 9}})["seed_masks"] == {
        "kind": "felzenszwalb",
        "scale": 9,
    }
    assert merged(base, {"views": {"flip": 0.0}})["views"] == {"crop": 96, "flip": 0.0}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0]}, "seeds: one seed has no spread; give two or more, or set intervals"),
        ({"seeds": [1, 1]}, "seeds: names one twice"),
        ({"seeds": [-1, 1]}, "seeds: must be 0 or more"),
        ({"seed": [0, 1]}, "seed: unknown key (allowed: experiment, seeds"),
        ({"baselines": ["grid"]}, "there is no variant grid (there are: initial, fixed"),
        ({"variants": {"a b": {}}}, "variants.a b: a name has letters"),
        ({"variants": {"initial": {}}}, "variants.initial: is the name of the initial weights"),
        ({"variants": {"fixed": {"data": {}}}}, "variants.fixed: changes data, which must be"),
        (
            {"variants": {"fixed": {"downstream": {"segmentation": {"test": 0.2}}}}},
            "variants.fixed: changes downstream, which must be the same in all variants",
        ),
        ({"variants": {"fixed": {"rounds": 1}}}, "variants.fixed: changes rounds"),
        (
            {"variants": {"fixed": {"pretrain": {"rate": 1}}}},
            "variants.fixed.pretrain.rate: unknown key",
        ),
        ({"base": {"viewz": {}}}, "base.viewz: unknown key; did you mean 'views'?"),
        (
            {"base": {"compute": {"trackers": ["wandb"]}}},
            "base.compute.trackers: runs of an experiment share rounds",
        ),
        ({"base": {"seed": 3}}, "base.seed: is the experiment's to set"),
        ({"base": {"downstream": {"evaluations": []}}}, "evaluations: names none"),
        (
            {"base": {"downstream": {"evaluations": ["voc_detection"]}}},
            "voc_detection trains networks for days",
        ),
        ({"base": {"downstream": {"seeds": 3}}}, "base.downstream.seeds: the experiment's seeds"),
        (
            {"base": {"downstream": {"segmentation": {"backbones": ["last"]}}}},
            "base.downstream.segmentation.backbones: the experiment chooses them",
        ),
        ({"experiment": "../x"}, "experiment: experiment: string should match"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_its_key(changes, told):
    found = refusal(tiny(**changes))
    assert told in found
    assert all(line.startswith("experiment: ") for line in found.splitlines())


def test_one_seed_is_taken_where_no_interval_is_asked_for():
    assert parse_experiment(tiny(seeds=[3], intervals=False)).seeds == (3,)


def test_what_is_missing_is_told():
    assert refusal({"experiment": "x"}).splitlines() == [
        "experiment: base: missing",
        "experiment: variants: missing",
    ]
    assert refusal([1]) == "experiment: must be a mapping of keys to values"
