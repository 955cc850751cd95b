"""Training on labels: steps as PyTorch's own SGD takes them, continuing, and BatchNorm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import derive
from cyborgs.runtime import distributed
from cyborgs.training.finetune import (
    Finetuner,
    Recipe,
    load_finetuning,
    save_finetuning,
)

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """Two losses of a batch of vectors, one of them with noise."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 2)

    def forward(self, batch):
        x = torch.stack([example["x"] for example in batch])
        out = self.second(self.norm(self.first(x)))
        labels = torch.tensor([int(example["name"]) % 2 for example in batch])
        noise = torch.rand(()) * out.square().mean()
        return {"loss_class": F.cross_entropy(out, labels), "loss_noise": noise}


def a_batch(number, size=6):
    draw = torch.Generator().manual_seed(number)
    return [{"x": torch.randn(3, generator=draw), "name": str(i)} for i in range(size)]


def groups(network):
    return [{"params": list(network.parameters()), "weight_decay": 0.01}]


def a_finetuner(state=None, *, seed=1, precision="float32", rate=lambda step: 0.1 / (1 + step)):
    torch.manual_seed(0)
    recipe = Recipe(6, rate, 0.9, precision, "lower downstream.tiny.rate", "")
    return Finetuner(Tiny(), groups, recipe, steps_per_epoch=4, seed=seed, device=CPU, state=state)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_steps_are_those_of_sgd():
    ours = a_finetuner()
    torch.manual_seed(0)
    network = Tiny()
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9, weight_decay=0.01)
    for step in range(3):
        loss, leave = ours.train_step(a_batch(step)).read()
        assert not leave
        optimiser.param_groups[0]["lr"] = 0.1 / (1 + step)
        optimiser.zero_grad()
        torch.manual_seed(derive(1, "step", step, 0))
        parts = network(a_batch(step))
        total = parts["loss_class"] + parts["loss_noise"]
        assert loss == pytest.approx(float(total.detach()))
        total.backward()
        optimiser.step()
    for ours_, theirs in zip(ours.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-4, atol=1e-6)


def test_an_interrupted_training_takes_the_same_steps(tmp_path):
    whole = a_finetuner()
    losses = [whole.train_step(a_batch(step)).read()[0] for step in range(5)]
    part = a_finetuner()
    for step in range(2):
        part.train_step(a_batch(step))
    save_finetuning(tmp_path / "s.pt", part.state({"stage": "x"}))
    again = a_finetuner(load_finetuning(tmp_path / "s.pt"))
    # What was drawn meanwhile does not count.
    torch.rand(7)
    assert [again.train_step(a_batch(step)).read()[0] for step in range(2, 5)] == losses[2:]
    assert same(whole.network.state_dict(), again.network.state_dict())
    assert same(whole.state({}).momentum_buffers, again.state({}).momentum_buffers)


def test_another_seed_draws_other_numbers():
    first = a_finetuner().train_step(a_batch(0)).read()[0]
    assert a_finetuner().train_step(a_batch(0)).read()[0] == first
    assert a_finetuner(seed=2).train_step(a_batch(0)).read()[0] != first


def test_batchnorm_is_measured_over_all_batches_alike():
    trainer = a_finetuner()
    trainer.train_step(a_batch(0))
    weights = {k: v.clone() for k, v in trainer.network.named_parameters()}
    batches = [a_batch(number) for number in range(5)]
    trainer.measure_batchnorm(batches)
    seen = [trainer.network.first(torch.stack([e["x"] for e in batch])) for batch in batches]
    norm = trainer.network.norm
    means = torch.stack([x.mean(0) for x in seen]).mean(0)
    variances = torch.stack([x.var(0) for x in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert same(weights, dict(trainer.network.named_parameters()))


def test_running_statistics_of_the_first_process_are_those_of_all(monkeypatch):
    trainer = a_finetuner()
    trainer.train_step(a_batch(0))
    own = trainer.network.norm.running_mean.clone()
    monkeypatch.setattr(distributed, "gather", lambda one: torch.stack([one + 1, one]))
    trainer.share_batchnorm()
    torch.testing.assert_close(trainer.network.norm.running_mean, own + 1)


def test_metrics_of_an_epoch_are_means_of_its_steps():
    trainer = a_finetuner()
    totals = [trainer.train_step(a_batch(step)).read()[0] for step in range(3)]
    metrics = trainer.health()
    assert set(metrics) == {"loss_class", "loss_noise"}
    assert sum(metrics.values()) == pytest.approx(sum(totals) / 3, rel=1e-5)
    trainer.train_step(a_batch(3))
    assert trainer.health() != metrics


def test_bfloat16_takes_nearly_the_same_steps():
    exact, rounded = a_finetuner(), a_finetuner(precision="bfloat16")
    for step in range(3):
        expected = exact.train_step(a_batch(step)).read()[0]
        assert rounded.train_step(a_batch(step)).read()[0] == pytest.approx(expected, rel=0.05)
    assert all(p.dtype == torch.float32 for p in rounded.network.parameters())


def test_a_loss_that_is_not_finite_is_refused_with_its_images():
    trainer = a_finetuner()
    batch = a_batch(0)
    batch[0]["x"] = torch.full((3,), float("inf"))
    with pytest.raises(InputError, match=r"images 0, 1, 2, .*lower downstream\.tiny\.rate"):
        trainer.train_step(batch).read()
