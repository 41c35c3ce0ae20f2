"""The small parts: workspace, known releases, records, the log."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from ghost_deploy.core.errors import DeviceError, SpecError, UnavailableError
from ghost_deploy.core.evidence.build import BuildRecords
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog, parse_failed
from ghost_deploy.runtimes.tensorrt.releases import (
    KNOWN_PROBLEMS,
    EngineUse,
    check_release,
    known_problems,
    release_of,
)
from ghost_deploy.runtimes.tensorrt.workspace import workspace_bytes
from tests.support.engine_builds import ORIN

GIB, MIB = 1 << 30, 1 << 20
DESKTOP = replace(ORIN, integrated=False)


@pytest.mark.parametrize(
    ("integrated", "free", "asked", "expected"),
    [
        (True, 6 * GIB, None, 1536 * MIB),
        (False, 6 * GIB, None, 3 * GIB),
        (False, 24 * GIB, None, 4 * GIB),
        (False, 200 * MIB, None, 100 * MIB),
        (False, 100 * MIB + 1, 100, 100 * MIB),
        (True, 6 * GIB, 512, 512 * MIB),
    ],
)
def test_workspace(integrated: bool, free: int, asked: int | None, expected: int) -> None:
    gpu = replace(ORIN, integrated=integrated, free_bytes=free)
    assert workspace_bytes(gpu, asked) == (expected, ())


@pytest.mark.parametrize(("free", "asked"), [(0, None), (100 * MIB, None), (100 * MIB, 101)])
def test_too_little_memory(free: int, asked: int | None) -> None:
    with pytest.raises(DeviceError, match="MiB free"):
        workspace_bytes(replace(DESKTOP, free_bytes=free), asked)


@pytest.mark.parametrize(
    ("free", "asked", "expected"), [(0, None, 64 * MIB), (100 * MIB, 101, 101 * MIB)]
)
def test_a_jetson_builds_with_a_warning(free: int, asked: int | None, expected: int) -> None:
    """What is free there is an estimate."""
    size, (warning,) = workspace_bytes(replace(ORIN, free_bytes=free), asked)
    assert size == expected
    assert f"{free // MIB} of 8192 MiB free" in warning
    assert "Close other programs" in warning


def test_a_jetson_has_no_more_than_it_has() -> None:
    with pytest.raises(DeviceError, match="9000 MiB"):
        workspace_bytes(ORIN, 9000)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("8.5.3.1", (8, 5, 3)),
        ("10.13.3.9.post1", (10, 13, 3)),
        ("11.4", (11, 4, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_releases_are_read(version: str, release: tuple[int, int, int]) -> None:
    assert release_of(version) == release


INT8_TAIL = EngineUse(int8=True, calibrated=True, end_to_end=True)


@pytest.mark.parametrize(
    ("release", "use", "refused"),
    [
        ((8, 4, 3), EngineUse(), True),
        ((8, 5, 0), EngineUse(), False),
        ((10, 2, 0), EngineUse(), True),
        ((10, 3, 0), EngineUse(), False),
        ((10, 3, 0), INT8_TAIL, True),
        ((10, 3, 0), replace(INT8_TAIL, calibrated=False), False),
        ((10, 3, 0), replace(INT8_TAIL, end_to_end=False), False),
        ((10, 7, 0), INT8_TAIL, False),
        ((10, 7, 0), EngineUse(dla=True), False),
        ((10, 13, 3), EngineUse(dla=True), True),
        ((11, 4, 0), EngineUse(dla=True), True),
        ((11, 4, 1), EngineUse(dla=True), False),
        ((11, 0, 0), EngineUse(jetson=True), False),
    ],
)
def test_what_is_refused(release: tuple[int, int, int], use: EngineUse, refused: bool) -> None:
    if refused:
        with pytest.raises(UnavailableError, match="TensorRT"):
            check_release(release, use)
    else:
        check_release(release, use)


def test_what_is_only_said() -> None:
    assert "migration notes" in check_release((10, 3, 0), EngineUse(strongly_typed=True))[0]
    assert check_release((10, 12, 0), EngineUse(strongly_typed=True)) == ()
    assert "Q/DQ" in check_release((10, 3, 0), replace(INT8_TAIL, calibrated=False))[0]
    assert "Jetson" in check_release((11, 0, 0), EngineUse(jetson=True))[0]


def test_everything_known_of_a_release() -> None:
    assert len(list(known_problems((10, 3, 0)))) == 3
    assert list(known_problems((8, 6, 1))) == []
    for entry in KNOWN_PROBLEMS:
        assert entry.first < entry.fixed
        assert set(entry.needs) <= set(EngineUse.__dataclass_fields__)


def test_a_foreign_record() -> None:
    with pytest.raises(SpecError):
        BuildRecords.from_document({"engines": {}, "schema": 2}, where="x")


def test_the_log_keeps_the_newest_and_is_bounded(fake_trt: ModuleType) -> None:
    told: list[tuple[str, str]] = []
    log = TensorrtLog(lambda *line: told.append(line))
    bridge = log.listen(compat.load())
    severity = fake_trt.ILogger.Severity
    assert log.last() == ""
    for number in range(100):
        bridge.log(severity.ERROR, f"error {number}")
    bridge.log(severity.WARNING, "same")
    bridge.log(severity.WARNING, "same")
    bridge.log(severity.VERBOSE, "detail")
    assert log.last() == "error 99"
    assert len(log.errors) == 20
    assert list(log.warnings) == ["same"]
    assert told[-1] == ("verbose", "detail")


def test_a_parser_that_fails_without_a_word() -> None:
    error = parse_failed((), TensorrtLog(), "m.onnx")
    assert "m.onnx" in str(error)
    assert "no reason" in str(error)
