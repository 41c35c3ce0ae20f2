"""Wheels for the Python and the processor of a board."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BoardError, UnavailableError, UsageError
from ghost_deploy.remote.board import Board
from ghost_deploy.remote.environment import choose_backends, failed_install, wanted
from ghost_deploy.remote.own_wheel import pack_own_wheel
from ghost_deploy.remote.target_wheels import platform_tags, resolve_wheels, target_options
from tests.support.constant_model import write_constant_bundle


def board(**facts: Any) -> Board:
    """A Raspberry Pi 5 with Debian 12, but for what is named."""
    usual: dict[str, Any] = {
        "folder": "/home/pi/.cache/ghost-deploy/remote",
        "free_bytes": 1 << 34,
        "home": "/home/pi",
        "time_s": 0.0,
        "python": "3.11.2",
        "executable": "/usr/bin/python3",
        "implementation": "cpython",
        "libc": "glibc 2.36",
        "architecture": "aarch64",
        "bits": 64,
        "system": "Linux 6.6",
        "distribution": "Debian",
        "model": "Raspberry Pi 5",
        "cpuinfo": "",
        "temperature_c": 50.0,
        "governors": ("ondemand",),
        "power_mode": "",
        "rsync": "/usr/bin/rsync",
        "packages": (),
    }
    return Board(**{**usual, **facts})


@pytest.mark.parametrize(
    ("facts", "has", "has_not"),
    [
        ({}, ["manylinux_2_36_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"],
         ["manylinux_2_37_aarch64", "manylinux2010_aarch64", "manylinux_2_36_x86_64"]),
        ({"architecture": "x86_64"}, ["manylinux1_x86_64", "manylinux2010_x86_64"], []),
        # A 32-bit system on a 64-bit kernel.
        ({"bits": 32}, ["manylinux_2_31_armv7l", "linux_armv7l"], ["linux_aarch64"]),
        ({"libc": "musl 1.2"}, ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"],
         ["manylinux2014_aarch64", "musllinux_1_3_aarch64"]),
        ({"libc": "glibc 2.27"}, ["manylinux_2_27_aarch64"], ["manylinux_2_28_aarch64"]),
    ],
)  # fmt: skip
def test_platforms(facts: dict[str, Any], has: list[str], has_not: list[str]) -> None:
    tags = platform_tags(board(**facts))
    assert len(set(tags)) == len(tags)
    assert set(has) <= set(tags)
    assert not set(has_not) & set(tags)


def test_python() -> None:
    options = target_options(board(python="3.13.1"))
    assert options[options.index("--python-version") + 1] == "3.13"
    assert {"cp313", "abi3", "none"} <= set(options)


@pytest.mark.parametrize("facts", [{"libc": ""}, {"implementation": "pypy"}])
def test_boards_without_wheels(facts: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError):
        target_options(board(**facts))


def small_wheel(folder: Path, name: str, tag: str, requires: str = "", extra: str = "") -> Path:
    """A wheel without code."""
    path = folder / f"{name}-1.0-{tag}.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    if extra:
        lines.append(f"Provides-Extra: {extra}")
        lines.append(f'Requires-Dist: {requires}; extra == "{extra}"')
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.slow
def test_the_wheels_of_a_folder_are_chosen_by_processor(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    own = small_wheel(tmp_path, "gdtop", "py3-none-any", "gdleaf", "fast")
    for tag in ("cp311-cp311-manylinux_2_28_aarch64", "cp311-cp311-manylinux_2_28_x86_64",
                "cp312-cp312-manylinux_2_28_aarch64"):  # fmt: skip
        small_wheel(folder, "gdleaf", tag)
    found = resolve_wheels(board(), own, ("fast",), folder, tmp_path / "chosen")
    assert list(found) == ["gdleaf-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"]


def test_what_is_missing_is_an_error_that_names_board_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    folder = tmp_path / "wheels"
    folder.mkdir()
    own = small_wheel(tmp_path, "gdtop", "py3-none-any", "gdleaf", "fast")
    small_wheel(folder, "gdleaf", "cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(
        UnavailableError, match=r"Python 3.11.2 on aarch64 \(glibc 2.36\)"
    ) as caught:
        resolve_wheels(board(), own, ("fast",), folder, tmp_path / "chosen")
    assert "gdleaf" in str(caught.value)
    assert str(folder) in caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize(("python", "libc"), [("3.11.2", "glibc 2.36"), ("3.13.5", "glibc 2.41")])
def test_this_package_for_a_raspberry_pi(tmp_path: Path, python: str, libc: str) -> None:
    """From the index of this machine, then again from the folder alone."""
    own = pack_own_wheel(tmp_path)
    there = board(python=python, libc=libc)
    folder = tmp_path / "wheels"
    found = resolve_wheels(there, own, ("onnxruntime", "validate"), folder, tmp_path / "one")
    names = {name.split("-")[0] for name in found}
    assert {"numpy", "msgspec", "onnxruntime", "opencv_python_headless", "pycocotools"} <= names
    assert not [name for name in found if "x86_64" in name]
    assert sum("aarch64" in name for name in found) >= 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        again = resolve_wheels(there, own, ("onnxruntime", "validate"), folder, tmp_path / "two")
    assert sorted(again) == sorted(found)


@pytest.fixture
def onnx_bundle(tmp_path: Path) -> Bundle:
    return write_constant_bundle(tmp_path / "best")


@pytest.mark.parametrize(
    ("facts", "runtimes", "expected"),
    [
        ({}, None, ["ort"]),
        ({"architecture": "x86_64"}, None, ["ort"]),  # the bundle has nothing for OpenVINO
        ({"packages": ("tensorrt",)}, None, ["trt"]),
        ({"packages": ("tensorrt",)}, ["ort"], ["ort"]),
        ({}, ["openvino", "ort"], ["openvino", "ort"]),
        ({}, ["auto"], ["ort"]),
    ],
)
def test_backends(
    onnx_bundle: Bundle, facts: dict[str, Any], runtimes: list[str] | None, expected: list[str]
) -> None:
    rows = choose_backends([onnx_bundle], board(**facts), runtimes)
    assert [row.name for row in rows] == expected


@pytest.mark.parametrize("runtime", ["eager", "kserve", "nothing"])
def test_runtimes_that_no_board_gets(onnx_bundle: Bundle, runtime: str) -> None:
    with pytest.raises(UsageError):
        choose_backends([onnx_bundle], board(), [runtime])


def test_tensorrt_is_the_system_s() -> None:
    with_it = board(packages=("tensorrt", "cv2"))
    rows = choose_backends([], with_it, ["trt"])
    assert wanted(rows, with_it).system_packages
    with pytest.raises(UnavailableError, match="no TensorRT"):
        wanted(rows, board())


@pytest.mark.parametrize(
    ("messages", "carried", "kind", "fix"),
    [
        ("ERROR: No matching distribution found for x", False, UnavailableError, "--wheels"),
        ("ERROR: No matching distribution found for x", True, UnavailableError, "that folder"),
        ("OSError: [Errno 28] No space left on device", False, BoardError, "--clean"),
        ("SSLError: certificate is not yet valid", False, UnavailableError, "clock"),
    ],
)
def test_why_pip_failed(messages: str, carried: bool, kind: type[Exception], fix: str) -> None:
    error = failed_install("pi5", messages, carried=carried)
    assert type(error) is kind
    assert fix in error.fix
