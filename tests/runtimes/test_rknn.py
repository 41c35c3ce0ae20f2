"""RKNN files, beyond the contract of all runtimes: boards, cores, descriptions, the simulator."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.bundle.verdicts import replacing_command
from ghost_deploy.core.errors import (
    BackendError,
    BundleError,
    DeviceError,
    MissingExtraError,
    UsageError,
)
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.runtimes import rknn, rockchip
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.opener import open_path
from ghost_deploy.runtimes.rockchip import Simulation, board_soc, simulated, socs_here
from ghost_deploy.runtimes.run_plan import choose
from ghost_deploy.runtimes.table import RUNTIMES, open_file, probe
from tests.support.fake_rknnlite import Npu, fake_board, make_lite, write_rknn

NPU = RuntimeOptions(device="npu")
MAPS = tuple((f"box{s}", f"score{s}", f"sum{s}") for s in (8, 16))
SPEC = ModelSpec(
    name="cut",
    family="",
    class_names=("a", "b"),
    input=InputSpec(size_hw=(32, 48), stride=16, layout="nhwc", dtype="uint8"),
    head=HeadSpec(decoder="dfl-raw", strides=(8, 16), reg_max=2, maps=MAPS),
)
SHAPES = list(SPEC.output_shapes().values())


def maps_of(pixels: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Maps that tell where they belong, and depend on the pixels."""
    mean = float(pixels.mean())
    return [np.full(shape, index + mean, np.float32) for index, shape in enumerate(SHAPES)]


def pixels(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 48, 3), np.uint8)


@pytest.fixture
def npu(tmp_path: Path) -> Iterator[Npu]:
    with fake_board(tmp_path / "root", maps_of) as npu:
        yield npu


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_rknn(tmp_path / "model.int8.rk3588.rknn", "rk3588", SPEC)


# The board


@pytest.mark.parametrize(
    ("compatible", "soc"),
    [
        ("", ""),
        ("raspberrypi,5-model-b\0brcm,bcm2712", ""),
        ("rockchip,rk3399", ""),  # no NPU that the toolkit knows
        ("radxa,rock-5b\0rockchip,rk3588", "rk3588"),
        ("xunlong,orangepi-5\0rockchip,rk3588s", "rk3588"),
        ("rockchip,rk3588s-orangepi-5\0rockchip,rk3588", "rk3588"),
        ("radxa,zero3\0rockchip,rk3566", "rk3566"),
        ("rockchip,rv1126b-evb\0rockchip,rv1126b", "rv1126b"),
    ],
)
def test_the_system_on_a_chip(tmp_path: Path, compatible: str, soc: str) -> None:
    place = tmp_path / "proc/device-tree/compatible"
    place.parent.mkdir(parents=True)
    place.write_text(compatible + "\0")
    assert board_soc(tmp_path) == soc


def test_a_machine_without_a_device_tree(tmp_path: Path) -> None:
    assert (board_soc(tmp_path), socs_here(tmp_path)) == ("", ())


@pytest.mark.parametrize(
    ("target", "soc", "runs"),
    [
        ("rk3588", "rk3588", True),
        ("rk3566", "rk3568", True),  # one NPU
        ("rk3568", "rk3566", True),
        ("rk3588", "rk3566", False),
        ("rk3576", "rk3588", False),
    ],
)
def test_files_run_on_boards_with_their_npu(
    tmp_path: Path, target: str, soc: str, runs: bool
) -> None:
    path = write_rknn(tmp_path / "model.rknn", target, SPEC)
    with fake_board(tmp_path / "root", maps_of, soc) as npu:
        if runs:
            open_file("rknn", path, NPU).close()
        else:
            with pytest.raises(DeviceError, match=f"NPU of {target}: got a board with {soc}"):
                open_file("rknn", path, NPU)
            assert npu.calls == []


def test_another_machine(path: Path, tmp_path: Path, npu: Npu) -> None:
    (tmp_path / "root/proc/device-tree/compatible").unlink()
    with pytest.raises(DeviceError, match="got a machine without a Rockchip NPU"):
        open_file("rknn", path, NPU)
    assert "none of Rockchip's NPUs" in probe("rknn").problem


@pytest.mark.parametrize(
    ("machine", "fix"),
    [("aarch64", r"\[rknn\]"), ("x86_64", "It runs on Rockchip boards only")],
)
def test_without_the_package(
    path: Path, machine: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(MissingExtraError, match=f"'rknnlite' is not installed.*{fix}"):
        open_file("rknn", path, NPU)


def test_the_probe(npu: Npu) -> None:
    found = probe("rknn")
    assert [(each.name, each.description) for each in found.devices] == [("npu", "rk3588, 3 cores")]
    assert found.details == {"files": "runs those made for rk3588"}


# Running


def test_maps_in_their_order(path: Path, npu: Npu) -> None:
    with open_file("rknn", path, NPU) as runtime:
        assert [each.name for each in runtime.outputs] == [n for level in MAPS for n in level]
        found = runtime.run({"images": pixels()})
        for name, expected in zip(found, maps_of(pixels()), strict=True):
            np.testing.assert_array_equal(found[name], expected)
        assert npu.open == 1
    assert npu.open == 0


@pytest.mark.parametrize(
    ("device", "threads", "soc", "mask"),
    [
        ("npu", 0, "rk3588", 0),
        ("npu", 1, "rk3588", 0),
        ("npu", 2, "rk3588", 3),
        ("npu", 3, "rk3588", 7),
        ("npu", 2, "rk3576", 3),
        ("npu:0", 0, "rk3588", 1),
        ("npu:1", 0, "rk3588", 2),
        ("npu:2", 0, "rk3588", 4),
        ("npu:0", 0, "rk3566", 1),
    ],
)
def test_cores(tmp_path: Path, device: str, threads: int, soc: str, mask: int) -> None:
    path = write_rknn(tmp_path / "model.rknn", soc, SPEC)
    with fake_board(tmp_path / "root", maps_of, soc) as npu:
        with open_file("rknn", path, RuntimeOptions(device=device, threads=threads)) as runtime:
            assert (runtime.info.device, runtime.info.notes) == (device, ())
        assert ("init_runtime", mask) in npu.calls


@pytest.mark.parametrize(
    ("device", "threads", "precision", "soc", "message"),
    [
        ("cpu", 0, "", "rk3588", "an NPU alone"),
        ("npu:3", 0, "", "rk3588", "the NPU of rk3588 has 3 cores"),
        ("npu:1", 0, "", "rk3566", "the NPU of rk3566 has 1 core[.,]"),
        ("npu", 4, "", "rk3588", "no 4 cores"),
        ("npu", 3, "", "rk3576", "no 3 cores"),
        ("npu", 0, "fp32", "rk3588", "computed in fp16 or int8"),
    ],
)
def test_what_the_board_lacks(
    tmp_path: Path, device: str, threads: int, precision: str, soc: str, message: str
) -> None:
    path = write_rknn(tmp_path / "model.rknn", soc, SPEC)
    options = RuntimeOptions(device=device, threads=threads, precision=precision)
    with fake_board(tmp_path / "root", maps_of, soc) as npu:
        with pytest.raises(DeviceError, match=message):
            open_file("rknn", path, options)
        with open_file("rknn", path, replace(options, allow_fallback=True)) as runtime:
            assert len(runtime.info.notes) == 1
        assert npu.calls[1] == ("init_runtime", 0)


@pytest.mark.parametrize("call", ["load_rknn", "init_runtime"])
def test_errors_are_return_values(path: Path, npu: Npu, call: str) -> None:
    npu.fails.add(call)
    with pytest.raises(BackendError, match=f"{call} returned -1"):
        open_file("rknn", path, NPU)
    assert npu.open == 0
    assert npu.calls[-1] == "release"


def test_a_run_that_fails(path: Path, npu: Npu) -> None:
    with open_file("rknn", path, NPU) as runtime:
        npu.fails.add("inference")
        with pytest.raises(BackendError, match="no outputs"):
            runtime.run({"images": pixels()})


@pytest.mark.parametrize("wrong", [slice(1, None), slice(None, None, -1)])
def test_outputs_that_are_not_described(path: Path, npu: Npu, wrong: slice) -> None:
    npu.function = lambda value: maps_of(value)[wrong]
    with (
        open_file("rknn", path, NPU) as runtime,
        pytest.raises(BackendError, match="not those of the description"),
    ):
        runtime.run({"images": pixels()})


# The description


def test_a_file_alone_opens_with_its_description(path: Path, npu: Npu) -> None:
    runtime, spec = open_path(path, options=NPU)
    with runtime:
        assert spec == SPEC


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{}"),
        lambda path: path.with_suffix(".json").write_text("hello"),
        lambda path: path.write_bytes(path.read_bytes() + b" "),
        lambda path: path.with_suffix(".json").write_text(
            path.with_suffix(".json").read_text().replace('"rk3588"', '"rk9999"')
        ),
    ],
)
def test_a_description_that_is_not_of_this_file(path: Path, npu: Npu, spoil: Any) -> None:
    spoil(path)
    with pytest.raises(BackendError, match=r"description of model\.int8\.rk3588\.rknn"):
        open_file("rknn", path, NPU)


# The simulator


def test_a_simulated_file_says_so(path: Path) -> None:
    simulation = Simulation(maps_of, "2.5.0 simulator")
    options = RuntimeOptions(precision="int8", threads=1)
    with simulated(path, simulation), open_file("rknn", path, options) as runtime:
        info = runtime.info
        assert (info.simulated, info.device, info.version) == (True, "simulator", "2.5.0 simulator")
        assert info.precision == "int8"
        found = runtime.run({"images": pixels()})
        np.testing.assert_array_equal(list(found.values())[1], maps_of(pixels())[1])
    with pytest.raises(MissingExtraError):
        open_file("rknn", path, options)


def test_a_changed_file_is_not_simulated(path: Path, tmp_path: Path) -> None:
    with simulated(path, Simulation(maps_of, "2.5.0 simulator")):
        other = write_rknn(tmp_path / "other.rknn", "rk3566", SPEC)
        with pytest.raises(MissingExtraError):
            open_file("rknn", other)


def test_the_fake_has_the_signatures_that_are_called() -> None:
    """Of rknn_lite.py in the wheel for aarch64; elsewhere the names in this test."""
    lite = make_lite(Npu("rk3588", maps_of))
    calls = {
        "load_rknn": ["path", "key_path"],
        "init_runtime": ["target", "device_id", "async_mode", "core_mask"],
        "inference": [
            "inputs",
            "data_type",
            "data_format",
            "inputs_pass_through",
            "get_frame_id",
            "reuse_outputs",
        ],
        "get_sdk_version": [],
        "release": [],
    }
    for name, parameters in calls.items():
        found = list(inspect.signature(getattr(lite, name)).parameters)[1:]
        assert found == parameters


def test_no_such_core_name() -> None:
    with pytest.raises(UsageError, match=r"npu\[:N\]"):
        RuntimeOptions(device="npu:x")


def test_the_table_of_chips_is_that_of_the_vendor() -> None:
    assert set(rockchip.CORES) <= set(rockchip.SOCS)
    assert rknn._MASKS.keys() == {2, 3}


# Bundles on other machines


@pytest.mark.parametrize("runtime", ["rknn", "auto"])
def test_a_bundle_for_a_board_says_so(runtime: str, tmp_path: Path) -> None:
    bundle = rknn_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"for boards with the NPU of rk3588\. Run it on such"):
        choose(bundle, runtime=runtime)
    (row,) = gd.check(bundle, device="npu", timeout_s=5).rows
    assert (row.status, row.reasons) == (
        "skipped",
        ("cannot run here: it is for boards with the NPU of rk3588",),
    )


def test_the_command_that_replaces_a_file(tmp_path: Path) -> None:
    bundle = rknn_bundle(tmp_path / "bundle")
    command = replacing_command(bundle, bundle.artifacts[0])
    assert command.endswith("--rknn --for rk3588 --int8 --calib IMAGES --overwrite")


def rknn_bundle(folder: Path) -> Bundle:
    """A bundle of one int8 file for rk3588."""
    with BundleWriter(folder) as writer:
        path = write_rknn(writer.folder / "model.int8.rk3588.rknn", "rk3588", SPEC)
        writer.add(
            format="rknn",
            precision="int8",
            path=path,
            extra_files=(path.with_suffix(".json"),),
            parent="ab" * 32,
            tools={},
            form="rk3588",
            head=SPEC.head,
            input=SPEC.input,
        )
        whole = HeadSpec(decoder="dfl", strides=(8, 16), reg_max=2)
        spec = msgspec.structs.replace(
            SPEC, head=whole, input=InputSpec(size_hw=(32, 48), stride=16)
        )
        writer.draft(spec, Source(file="m.pt", sha256="cd" * 32), "test")
        return writer.finish()


def test_it_runs_on_the_board(tmp_path: Path) -> None:
    bundle = rknn_bundle(tmp_path / "bundle")
    with fake_board(tmp_path / "root", maps_of), forms_of_board():
        assert choose(bundle, options=NPU).artifact.id == "rknn-int8-rk3588"
        with gd.load(bundle, device="npu", check=False, conf=0.3) as detector:
            assert detector.runtime.info.runtime == "rknn"
            found = detector(np.zeros((32, 48, 3), np.uint8))
            assert len(found) > 0  # the second map, of scores, is 1 everywhere


@contextmanager
def forms_of_board() -> Iterator[None]:
    """The table is made when it is imported, on the machine of the tests."""
    row = replace(RUNTIMES["rknn"], forms=socs_here())
    with patch.dict(RUNTIMES, {"rknn": row}):
        yield
