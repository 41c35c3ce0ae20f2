"""Several hundred damaged and altered copies of a real checkpoint.

Each must end in an error of ours, or load as a network whose shapes, counts and names fit. Where
the bytes that matter were protected by a checksum, it must be the very same network.
"""

from __future__ import annotations

import contextlib
import functools
import math
import pickletools
import random
import struct
from collections.abc import Iterator

import pytest
import torch

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_data
from ghost_deploy.checkpoints.user_modules import UserModules
from ghost_deploy.core.errors import CheckpointError
from tests.support.assets import needs_assets
from tests.support.forged_checkpoints import archive, ghost_bytes, ghost_pickle, ghost_storages

pytestmark = needs_assets

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SEED = 20_240


def outcome(data: bytes) -> LoadedCheckpoint | None:
    """The network, or None where the file was refused by an error of ours."""
    with contextlib.suppress(CheckpointError):
        return load_data("mutant.pt", data, UserModules())
    return None


def raw(loaded: LoadedCheckpoint) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = loaded.net(IMAGE)
    return output


@pytest.fixture(scope="module")
def reference() -> torch.Tensor:
    loaded = outcome(ghost_bytes())
    assert loaded is not None
    return raw(loaded)


def assert_consistent(loaded: LoadedCheckpoint) -> None:
    spec = loaded.spec
    assert spec.num_classes == loaded.net.nc
    assert all(name.isprintable() for name in spec.class_names)
    assert all(bool(torch.isfinite(weights).all()) for weights in loaded.net.parameters())
    side = 2 * spec.input.stride
    with torch.inference_mode():
        output = loaded.net(torch.zeros(1, 3, side, side))
    assert output.shape == (1, 4 + spec.num_classes, spec.head.anchors((side, side)))


@pytest.mark.parametrize("part", range(60))
def test_truncated_files_are_refused(part: int) -> None:
    data = ghost_bytes()
    end = [0, 1, 3, 4, 30, 100, len(data) - 1, len(data) - 22, len(data) - 100][part : part + 1]
    size = end[0] if end else random.Random(SEED + part).randrange(len(data))
    assert outcome(data[:size]) is None


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes_of_the_file_change_nothing_or_are_refused(
    seed: int, reference: torch.Tensor
) -> None:
    """The checksums cover all that matters; the rest is times, versions and padding."""
    draw = random.Random(SEED + seed)
    data = bytearray(ghost_bytes())
    # Half of the flips fall into the directory, which is where a reader can be led astray.
    low = len(data) - 60_000 if seed % 2 else 0
    for _ in range(draw.choice([1, 1, 4])):
        data[draw.randrange(low, len(data))] ^= 1 << draw.randrange(8)
    loaded = outcome(bytes(data))
    if loaded is not None:
        assert torch.equal(raw(loaded), reference)


def forged_pickle(data: bytes) -> LoadedCheckpoint | None:
    """The outcome with another `data.pkl` and right checksums."""
    return outcome(archive(data, ghost_storages()))


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_of_the_pickle(seed: int) -> None:
    draw = random.Random(SEED + seed)
    data = bytearray(ghost_pickle())
    for _ in range(draw.choice([1, 1, 2, 8])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    loaded = forged_pickle(bytes(data))
    if loaded is not None:
        assert_consistent(loaded)


@pytest.mark.parametrize("seed", range(20))
def test_truncated_pickles_are_refused(seed: int) -> None:
    data = ghost_pickle()
    size = random.Random(SEED + seed).randrange(len(data))
    assert forged_pickle(data[:size]) is None
    assert forged_pickle(data[:size] + b".") is None


@functools.cache
def opcodes() -> tuple[bytes, ...]:
    data = ghost_pickle()
    starts = [position for _, _, position in pickletools.genops(data)]
    return tuple(data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True))


def rearranged(draw: random.Random) -> Iterator[bytes]:
    """The pickle with whole opcodes lost, doubled or exchanged: well-formed to a tokenizer."""
    codes = list(opcodes())
    for _ in range(draw.choice([1, 1, 3])):
        one, other = draw.randrange(1, len(codes) - 1), draw.randrange(1, len(codes) - 1)
        match draw.choice(["lose", "double", "exchange", "replace"]):
            case "lose":
                codes[one] = b""
            case "double":
                codes[one] *= 2
            case "exchange":
                codes[one], codes[other] = codes[other], codes[one]
            case _:
                codes[one] = codes[other]
    yield from codes


@pytest.mark.parametrize("seed", range(40))
def test_rearranged_pickles(seed: int) -> None:
    loaded = forged_pickle(b"".join(rearranged(random.Random(SEED + seed))))
    if loaded is not None:
        assert_consistent(loaded)


@pytest.mark.parametrize("seed", range(20))
def test_storages_of_other_sizes_are_refused(seed: int) -> None:
    draw = random.Random(SEED + seed)
    storages = ghost_storages()
    # Storage 562 is the last of the network; all are used by it.
    key = str(draw.randrange(560))
    data = storages[key]
    other = draw.choice([b"", data[:-2], data + b"\0\0", data * 2])
    loaded = outcome(archive(ghost_pickle(), {**storages, key: other}))
    assert loaded is None


@pytest.mark.parametrize("value", [-65504.0, 6e-8, float("nan")])
def test_storages_of_other_values(value: float) -> None:
    """Weights may be anything finite; the shapes hold."""
    storages = ghost_storages()
    storages = {**storages, "0": struct.pack("<e", value) + storages["0"][2:]}
    loaded = outcome(archive(ghost_pickle(), storages))
    if loaded is not None:
        assert_consistent(loaded)
    assert (loaded is None) == math.isnan(value)
