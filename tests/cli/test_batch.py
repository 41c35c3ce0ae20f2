"""`ghost-deploy batch` as a user runs it, on a small real model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy.cli.main import main
from tests.support.batch_runs import keys_twice, rows_in
from tests.support.constant_model import write_constant_bundle
from tests.support.image_files import damaged_jpeg
from tests.support.images import write_image, write_images
from tests.support.waiting import wait_until

pytest.importorskip("pyarrow")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant_bundle(tmp_path_factory.mktemp("bundle") / "small").path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", 5)
    return tmp_path / "images"


def words(bundle: Path, images: Path, out: Path, *more: str) -> list[str]:
    common = ("--runtime", "ort", "--no-check", "--workers", "1")
    return ["batch", str(bundle), str(images), "-o", str(out), *common, *more]


WRONG = {
    "no input": (["--every", "2"], "there is no input"),
    "both kinds of frames": (["--every", "2", "--every-seconds", "1"], "in place of every"),
    "more than the graph accepts": (["--batch", "9"], "does not accept so many"),
    "no such class": (["--classes", "horse"], "no class 'horse'"),
    "a server": ([], "cannot run an archive"),
    "the runtime of a server": (["--runtime", "kserve"], "server cannot run an archive"),
}


@pytest.mark.parametrize(("more", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    more: list[str], message: str,
) -> None:  # fmt: skip
    given = words(bundle, images, tmp_path / "out", *more)
    if message == "there is no input":
        given[2] = str(tmp_path / "gone")
    if message == "cannot run an archive":
        given[1] = "grpc://localhost:1/model"
    assert main(given) == 2
    assert message in capsys.readouterr().err
    assert rows_in(tmp_path / "out") == []


def test_a_run_and_its_document(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (images / "bad.png").write_bytes(b"bad")
    assert main(words(bundle, images, out, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sources"], found["rows"], found["errors"]) == (6, 6, 1)
    assert (found["engine"], found["complete"], list(found["workers"])) == ("local", True, ["0"])
    write_image(images / "bad.png")
    assert main(words(bundle, images, out, "--retry-errors")) == 0
    printed = capsys.readouterr()
    assert "6 of 6 sources have their rows already" not in printed.err
    assert "1 in" in printed.out
    assert main(words(bundle, images, out, "--conf", "0.5")) == 2
    assert "other settings" in capsys.readouterr().err
    assert len(rows_in(out)) == 6


def test_no_source_can_be_read(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"bad")
    assert main(words(bundle, tmp_path / "images", tmp_path / "out")) == 2
    said = capsys.readouterr()
    assert "1 row holds an error" in said.err
    assert "--retry-errors" in said.err
    assert f"{tmp_path / 'images' / 'a.png'}" in said.err
    assert "other programs can open it" in said.err
    assert "1 row in 1 part" in said.out


def test_the_first_that_cannot_be_read_are_named(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        (images / f"bad{number}.png").write_bytes(b"bad")
    again = str(images / "bad0.png")
    more = words(bundle, images, tmp_path / "out", "--part-rows", "3")
    assert main([*more[:3], again, *more[3:]]) == 0
    said = capsys.readouterr()
    named = [line for line in said.err.splitlines() if "bad" in line]
    assert len(named) == 5
    assert "and 2 more" in said.err
    assert "1 source is named more than once" in said.err
    assert "engine" not in said.err
    (rate,) = (line for line in said.out.splitlines() if line.startswith("rate"))
    whole, _, working = rate.partition("; ")
    assert float(whole.split()[1]) <= float(working.split()[0])
    assert main(words(bundle, images, tmp_path / "out", "--part-rows", "9")) == 0
    assert "parts keep at most 3 rows" in capsys.readouterr().err
    assert main(words(bundle, images, tmp_path / "out", "--part-rows", "3")) == 0
    assert "parts keep" not in capsys.readouterr().err


def test_without_ray_nothing_is_written(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words(bundle, images, tmp_path / "out", "--engine", "ray")) == 3
    said = capsys.readouterr().err
    assert "'ray' is not installed" in said
    assert "continues" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_keeps_what_is_written(
    bundle: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for copy in range(20):
        write_images(images / str(copy), 60)
    more = words(bundle, images, out, "--part-rows", "20")
    command = [sys.executable, "-m", "ghost_deploy.cli.main", *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(out.glob("*.parquet")))
        process.send_signal(number)
        errors = process.communicate()[1]
    assert process.returncode == code
    assert "run the same command again and it continues" in errors
    manifest = json.loads((out / "_manifest.json").read_text())
    before = sum(part["rows"] for part in manifest["parts"])
    assert 0 < before == len(rows_in(out)) < 1200
    assert not manifest["complete"]
    assert main(more) == 0
    rows = rows_in(out)
    assert len(rows) == 1200
    assert not keys_twice(rows)


def test_remarks_of_decoders_name_the_file(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libjpeg writes "Corrupt JPEG data" alone; of what is an error the row has the reason."""
    data = damaged_jpeg()
    (tmp_path / "images").mkdir()
    for name, content in {"less": data, "cut": data[:-2]}.items():
        (tmp_path / "images" / f"{name}.jpg").write_bytes(content)
    assert main(words(bundle, tmp_path / "images", tmp_path / "out")) == 0
    said = capfd.readouterr().err
    assert f"{tmp_path / 'images' / 'less.jpg'}: Corrupt JPEG data" in said
    assert said.count("Corrupt JPEG") == 1
    assert said.count("cut.jpg") == 1
