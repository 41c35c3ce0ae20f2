"""A short run of the fuzzer, and that it sees what it looks for."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("starlette")
pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

from ghost_deploy.core.errors import InputError
from tools import fuzz, fuzz_targets
from tools.fuzz_changes import change

FAST = ("spec", "data-yaml", "coco", "labels", "image", "statistics", "trtcache", "mjpeg", "bundle")


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--minutes", "0.01", "--targets", ",".join(FAST), "--findings", str(tmp_path / "f")]
    assert fuzz.main([*words, "--seed", "3"]) == 0, capsys.readouterr().out
    assert not (tmp_path / "f").exists()
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(FAST, lines, strict=False):
        assert line.startswith(f"{name}: "), line
        assert not line.startswith(f"{name}: 0 cases"), line


@pytest.mark.slow
def test_all_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--minutes", "0.7", "--findings", str(tmp_path)]) == 0, (
        capsys.readouterr().out
    )


class Planted(fuzz_targets.Target):
    """A target with the faults that a fuzzer must see."""

    name = "planted"
    exact = True

    def make(self) -> list[bytes]:
        return [b"abcdefgh" * 4]

    def run(self, data: bytes) -> object:
        return self.act(data) if hasattr(self, "act") else 0

    act: Any


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda _: raise_(KeyError("x")), KeyError),
        (lambda _: 1, fuzz.NotAllowedError),
    ],
)
def test_what_is_not_allowed_is_seen(act: Any, error: type[Exception]) -> None:
    with Planted() as target:
        target.act = act
        with pytest.raises(error):
            fuzz.run_case(target, 0, 0)


def test_a_large_case_is_seen_after_a_larger_one() -> None:
    with Planted() as target:
        for mib in (900, 600):
            target.act = lambda _, mib=mib: bytearray(mib << 20).count(1)
            with pytest.raises(fuzz.NotAllowedError, match="memory"):
                fuzz.run_case(target, 0, 0)


def test_slow_cases_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SLOW_S", 0.0)
    with Planted() as target:
        target.act = lambda _: sum(range(100_000)) * 0
        with pytest.raises(fuzz.NotAllowedError, match="processor time"):
            fuzz.run_case(target, 0, 0)


def test_our_errors_and_equal_results_are_allowed() -> None:
    with Planted() as target:
        target.act = lambda _: raise_(InputError("x", fix="y"))
        assert fuzz.run_case(target, 0, 0) == "error"
        target.act = lambda _: 0
        assert fuzz.run_case(target, 0, 0) == "result"


DYING = """
import os, sys
from tools import fuzz, fuzz_targets
class Dying(fuzz_targets.Target):
    name = "dying"
    def make(self): return [b"abc" * 9]
    def run(self, data):
        if self.inputs != [data] and hasattr(self, "expected"): os.abort()
        return 0
fuzz_targets.TARGETS.clear()
fuzz_targets.TARGETS["dying"] = Dying
fuzz.__file__ = __file__
sys.exit(fuzz.main())
"""


def test_a_death_is_a_finding_that_can_be_repeated(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "dying.py"
    script.write_text(DYING)
    words = [sys.executable, str(script), "--minutes", "0.02", "--targets", "dying"]
    done = subprocess.run(
        [*words, "--findings", str(tmp_path / "f")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "FINDING" in done.stdout
    first = min((tmp_path / "f").glob("*.txt"))
    assert "the process ended with -6" in first.read_text()
    assert first.with_suffix("").read_bytes()


def test_a_case_depends_on_its_number_alone() -> None:
    with Planted() as target:
        cases = [fuzz.case_of(target, 0, number) for number in range(50)]
        assert cases == [fuzz.case_of(target, 0, number) for number in range(50)]
        assert len(set(cases)) > 40


def test_json_stays_readable_or_is_damaged_on_purpose() -> None:
    class Document:
        tokens = ()
        is_json = True

    data = b'{"a": [1, {"b": "c"}], "d": null}'
    found = {change(data, random.Random(seed), Document()) for seed in range(300)}
    assert len(found) > 200
    assert any(each.count(b"[") > 50_000 for each in found)


# What the fuzzer has found, by the kind of input.
FOUND = {
    "coco": b'{"images":[{"id":0,"file_name":"0.png","width":1' + b"0" * 400 + b',"height":64}],'
    b'"annotations":[{"id":1,"image_id":0,"category_id":3,"bbox":[4,5,10,12]}],'
    b'"categories":[{"id":3,"name":"a"}]}',
    "data-yaml": b"path: .\n!!binary x: [images]\nnames: [a, b]\n",
    "labels": b"",
}
LONG_NAME = b"path: .\nval: i" + b"x" * 5000 + b"\nnames: [a, b]\n"


@pytest.mark.parametrize(
    ("name", "data"), [*FOUND.items(), ("data-yaml", LONG_NAME)], ids=[*FOUND, "long name"]
)
def test_what_was_found_is_refused(name: str, data: bytes) -> None:
    with fuzz_targets.TARGETS[name]() as target:
        if name == "labels":
            assert target.run(data) == 2  # an image without objects
        else:
            with pytest.raises(InputError):
                target.run(data)
