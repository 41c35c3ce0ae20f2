"""The loop: what it learns, what it averages, and how it resumes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from ghost_deploy.checkpoints.native import save_native
from ghost_deploy.core.bundle import Source
from ghost_deploy.core.errors import CorruptCheckpointError, InputError, UsageError
from ghost_deploy.demo.scenes import CLASS_NAMES
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.training_data import OPTIONS, SIDE, scene_samples, small_data
from tools.training import loop
from tools.training.augment import Augmentation, augment
from tools.training.batches import collate
from tools.training.ema import MovingAverage
from tools.training.loss import Losses, network_loss
from tools.training.network import describe_network, start_network
from tools.training.optimize import input_side, learning_rate, make_optimizer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet(_: str) -> None:
    pass


class InterruptedRunError(Exception):
    """Stands for the end of the machine's day."""


def equal(a: DetectionNet, b: DetectionNet) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"size": 100}, "--size"),
        ({"small": 40}, "--small"),
        ({"small": 96}, "--small"),
        ({"epochs": 0}, "--epochs"),
        ({"plain": 3}, "--plain"),
        ({"batch": 1}, "--batch"),
        ({"rate": 0.0}, "--rate"),
        ({"seed": -1}, "--seed"),
        ({"zoom": 1.0}, "--zoom"),
    ],
)
def test_options_out_of_range(change: dict[str, float], option: str) -> None:
    with pytest.raises(UsageError, match=option):
        msgspec.structs.replace(OPTIONS, **change).check()


def test_fewer_samples_than_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fewer images than a batch"):
        loop.train(OPTIONS, small_data(count=1), tmp_path / "state.pt", say=quiet)


def test_a_start_from_other_weights(tmp_path: Path) -> None:
    other = build_zoo("yolov8n-ghost", 6)
    file = tmp_path / "other.safetensors"
    spec = describe_network(other, OPTIONS, CLASS_NAMES)
    save_native(file, other, spec, Source(file="other", sha256=""))
    with pytest.raises(InputError, match="does not match this network"):
        start_network(msgspec.structs.replace(OPTIONS, net="yolov10n", init=str(file)), 6)
    start = start_network(msgspec.structs.replace(OPTIONS, init=str(file)), 3)
    theirs, own = other.state_dict(), start.state_dict()
    same = [name for name, value in own.items() if value.shape == theirs[name].shape]
    # The last class layer of each of three levels, weight and bias, has another width.
    assert len(same) == len(theirs) - 6
    assert all(torch.equal(own[name], theirs[name]) for name in same)


@pytest.mark.parametrize("net", ["yolov8n-ghost", "yolov10n-ghost"])
def test_two_samples_are_learned_by_heart(net: str) -> None:
    start = start_network(msgspec.structs.replace(OPTIONS, net=net), 6)
    still = Augmentation(zoom=0, shift=0, color=(0, 0, 0))
    rng = np.random.default_rng(0)
    samples = [augment([p], SIDE, SIDE, still, rng) for p in scene_samples(2)]
    images, truth = collate(samples)
    optimizer = make_optimizer(start, 2e-3)
    totals = []
    for _ in range(16):
        loss = network_loss(start, images, truth).total
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.6 * totals[0]
    frozen = [name for name, weights in start.named_parameters() if not weights.requires_grad]
    assert frozen == [name for name, _ in start.named_parameters() if ".dfl." in name]


def test_samples_without_objects_teach_only_scores() -> None:
    net = start_network(OPTIONS, 6)
    empty = [p._replace(boxes=p.boxes[:0], class_ids=p.class_ids[:0]) for p in scene_samples(2)]
    losses = network_loss(net, *collate(empty))
    assert float(losses.box.detach()) == float(losses.distribution.detach()) == 0
    assert float(losses.score.detach()) > 0


def test_an_interrupted_run_gives_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    few = small_data()
    whole = loop.train(OPTIONS, few, tmp_path / "whole.pt", say=quiet)

    def stop(epoch: int, _: DetectionNet) -> None:
        if epoch == 1:
            raise InterruptedRunError

    state = tmp_path / "state.pt"
    with pytest.raises(InterruptedRunError):
        loop.train(OPTIONS, few, state, say=quiet, after_epoch=stop)
    lines: list[str] = []
    resumed = loop.train(OPTIONS, few, state, say=lines.append)
    assert [line.split(":")[0] for line in lines] == ["epoch 2/2"]
    assert equal(whole, resumed)
    other = loop.train(
        msgspec.structs.replace(OPTIONS, seed=1), few, tmp_path / "other.pt", say=quiet
    )
    assert not equal(whole, other)
    with pytest.raises(UsageError, match="other options") as caught:
        loop.train(msgspec.structs.replace(OPTIONS, epochs=3), few, state, say=quiet)
    assert "epochs 2" in str(caught.value)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CorruptCheckpointError, match=r"state\.pt cannot be read"):
        loop.train(OPTIONS, few, state, say=quiet)


def test_a_loss_that_is_not_finite_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.tensor(math.nan, requires_grad=True)
    monkeypatch.setattr(loop, "network_loss", lambda *_: Losses(nothing, nothing, nothing))
    with pytest.raises(UsageError, match="not finite at step 0"):
        loop.train(OPTIONS, small_data(), tmp_path / "state.pt", say=quiet)
    assert not (tmp_path / "state.pt").exists()


def test_the_moving_average() -> None:
    net = start_network(OPTIONS, 6)
    mean = MovingAverage(net)
    name = "model.0.conv.weight"
    start = copy.deepcopy(net.state_dict()[name])
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(1)
    mean.update(net)
    decay = MovingAverage.decay(1)
    assert decay == 2 / 11
    torch.testing.assert_close(mean.net.state_dict()[name], start + 1 - decay)
    assert int(mean.net.state_dict()["model.0.bn.num_batches_tracked"]) == 1
    assert not mean.net.training
    assert MovingAverage.decay(10**9) == 0.9999


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == 0.01
    assert rates[99] == rates[100] == 1.0
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)
    assert learning_rate(0, 1, 1.0) == 1.0


def test_the_input_grows_to_its_full_size_and_stays() -> None:
    sides = [input_side(epoch, 100, 192, 416) for epoch in range(100)]
    assert sides[0] == sides[39] == 192
    assert sides == sorted(sides)
    assert set(sides[85:]) == {416}
    assert all(side % 32 == 0 for side in sides)
    assert input_side(0, 1, 64, 64) == 64
    assert OPTIONS.first_size == 32
    assert msgspec.structs.replace(OPTIONS, size=320).first_size == 160
    assert msgspec.structs.replace(OPTIONS, small=64).first_size == 64
