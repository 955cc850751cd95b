"""What a run has to tell."""

from cyborgs.tracking.points import flattened, parts_of, settings_of
from tests.tracking.runs import begin, evaluate, measure, train


def points(run):
    return {part.name: [(p.step, p.metrics) for p in part.points] for part in parts_of(run)}


def test_a_run_that_has_only_begun_has_settings_alone(tmp_path):
    run = begin(tmp_path / "r", pretrain={"epochs": 7})
    settings = dict(flattened(settings_of(run)))
    assert settings["pretrain.epochs"] == 7
    assert settings["seed_masks.kind"] == "felzenszwalb"
    assert not any(key.startswith("compute") for key in settings)
    assert parts_of(run) == []


def test_epochs_masks_and_backbones_are_at_steps_of_training(tmp_path):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0, 2.0], step=0)
    train(run, 2, [1.0], step=20)
    for number in (0, 1, 2):
        measure(run, number, 0.1 * number)
    measure(run, 1, 0.5, kind="made")
    evaluate(run, "voc_svm", "round-01", 0.25)
    evaluate(run, "voc_svm", "random", 0.125)
    evaluate(run, "imagenet_linear", "round-02", 0.5, seed=1)
    found = points(run)
    epoch = {"epoch": 2, "loss": 2, "seconds": 1.5, "round": 1}
    assert found["metrics/round-01"][1] == (20, epoch)
    assert found["metrics/round-02"] == [(30, epoch | {"epoch": 1, "loss": 1, "round": 2})]
    shown = [found[f"quality/k-8/round-{n:02d}"] for n in range(3)]
    assert shown == [[(s, {"quality/k-8/ari": v})] for s, v in ((0, 0), (20, 0.1), (30, 0.2))]
    assert found["quality/made/round-01"] == [(20, {"quality/made/ari": 0.5})]
    assert found["downstream/voc_svm/round-01"] == [(20, {"downstream/voc_svm/map": 0.25})]
    assert found["downstream/voc_svm/random"] == [(0, {"downstream/voc_svm/random/map": 0.125})]
    trained = "downstream/imagenet_linear"
    assert found[f"{trained}/round-02/seed-1"] == [
        (30, {f"{trained}/seed-1/top1": 0.5, f"{trained}/seed-1/top5": 0.5})
    ]


def test_a_round_that_continues_is_the_same_work_and_one_that_is_redone_is_not(tmp_path):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0, 2.0], step=0)
    (before,) = parts_of(run)
    train(run, 1, [3.0, 2.5, 2.0], step=0, kept=1)
    (continued,) = parts_of(run)
    train(run, 1, [4.0], step=0)
    (redone,) = parts_of(run)
    assert before.identity == continued.identity != redone.identity
