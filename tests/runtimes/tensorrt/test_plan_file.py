"""Plans as files: ours, plain ones, Ultralytics', damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.errors import BackendError, ExportError, SpecError
from ghost_deploy.runtimes.tensorrt import plan_file
from ghost_deploy.runtimes.tensorrt.plan_file import Sidecar, read_plan, sidecar_path, write_plan
from tests.runtimes.tensorrt.test_fingerprint import PLAN
from tests.support.model_specs import make_spec

DATA = b"ftrt" + bytes(100)
HEADER: dict[str, Any] = {
    "description": "Ultralytics YOLOv8n model",
    "task": "detect",
    "version": "8.4.190",
    "stride": 32,
    "batch": 1,
    "imgsz": [480, 640],
    "names": {number: f"class {number}" for number in sorted(map(str, range(11)))},
    "end2end": False,
    "args": {"dynamic": False},
}


def make_sidecar(data: bytes = DATA) -> Sidecar:
    return Sidecar(
        spec=make_spec(),
        fingerprint=PLAN,
        precision="fp16",
        route="fp16-weak",
        plan_sha256=hashlib.sha256(data).hexdigest(),
        created_with="ghost-deploy 0",
    )


def ultralytics(header: dict[str, Any], plan: bytes = DATA) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + plan


@pytest.mark.parametrize("content", [None, b""])
def test_no_plan(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"m\.plan"):
        read_plan(path)


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.plan"
    files = write_plan(path, DATA, make_sidecar())
    assert files == (path, sidecar_path(path))
    assert path.read_bytes() == DATA, "a plain plan, with nothing of ours in it"
    assert sorted(tmp_path.iterdir()) == sorted(files)
    plan = read_plan(path)
    assert plan.data == DATA
    assert plan.sidecar == make_sidecar()
    assert plan.spec() == make_spec()
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_plain_plan_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(DATA)
    plan = read_plan(path)
    assert (plan.sidecar, plan.header, plan.spec()) == (None, None, None)


@pytest.mark.parametrize(
    "text", ["", "{}", "nonsense", '{"schema": 99}', "[" * 10000], ids=range(5)
)
def test_a_damaged_sidecar(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    path.write_bytes(DATA)
    sidecar_path(path).write_text(text)
    with pytest.raises(BackendError, match=r"m\.plan\.json"):
        read_plan(path)


def test_the_sidecar_of_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    write_plan(path, DATA, make_sidecar())
    path.write_bytes(DATA + b"x")
    with pytest.raises(BackendError, match="another engine"):
        read_plan(path)


def test_a_disk_that_refuses_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.plan"
    write_plan(path, DATA, make_sidecar())

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ExportError, match="No space"):
        write_plan(path, DATA + b"new", make_sidecar(DATA + b"new"))
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path], "the old sidecar is gone: the plan is plain now"


class TestUltralytics:
    def read(self, tmp_path: Path, header: dict[str, Any]) -> plan_file.EngineFile:
        path = tmp_path / "yolov8n.engine"
        path.write_bytes(ultralytics(header))
        return read_plan(path)

    def test_the_header_is_split_off(self, tmp_path: Path) -> None:
        plan = self.read(tmp_path, HEADER)
        assert plan.data == DATA
        spec = plan.spec((1, 15, 6300))
        assert spec is not None
        assert spec.class_names == tuple(f"class {number}" for number in range(11))
        assert spec.input.size_hw == (480, 640)
        assert (spec.head.decoder, spec.head.strides) == ("dfl", (8, 16, 32))

    @pytest.mark.parametrize(
        ("changes", "output", "strides"),
        [
            ({}, None, (8, 16, 32)),
            ({}, (1, 15, 6300), (8, 16, 32)),
            ({}, (1, 15, 25500), (4, 8, 16, 32)),
            ({"stride": 64, "imgsz": [640, 640]}, (1, 15, 8500), (8, 16, 32, 64)),
            ({"end2end": True}, (1, 300, 6), (8, 16, 32)),
        ],
    )
    def test_the_levels_follow_the_output(
        self,
        changes: dict[str, Any],
        output: tuple[int, ...] | None,
        strides: tuple[int, ...],
        tmp_path: Path,
    ) -> None:
        spec = self.read(tmp_path, {**HEADER, **changes}).spec(output)
        assert spec is not None
        assert spec.head.strides == strides
        assert spec.head.end_to_end == bool(changes.get("end2end"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"task": "segment"},
            {"task": None},
            {"names": {}},
            {"names": ["a"]},
            {"names": {"x": "a"}},
            {"names": {"0": "a", "2": "b"}},
            {"imgsz": None},
            {"imgsz": [640]},
            {"imgsz": [100, 640]},
            {"stride": 48},
            {"batch": "many"},
        ],
        ids=str,
    )
    def test_what_is_no_detector(self, changes: dict[str, Any], tmp_path: Path) -> None:
        plan = self.read(tmp_path, {**HEADER, **changes})
        with pytest.raises(SpecError):
            plan.spec((1, 15, 6300))

    def test_an_output_that_fits_no_head(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError):
            self.read(tmp_path, HEADER).spec((1, 15, 6301))

    @pytest.mark.parametrize(
        "data",
        [
            ultralytics(HEADER)[:50],
            (20).to_bytes(4, "little") + b"{this is no JSON    }" + DATA,
            (1 << 30).to_bytes(4, "little") + b"{}" + DATA,
        ],
        ids=range(3),
    )
    def test_what_only_looks_like_a_header_is_a_plan(self, data: bytes, tmp_path: Path) -> None:
        path = tmp_path / "m.engine"
        path.write_bytes(data)
        assert read_plan(path).data == data

    def test_nothing_behind_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "m.engine"
        path.write_bytes(ultralytics(HEADER, b""))
        assert read_plan(path).header is None
