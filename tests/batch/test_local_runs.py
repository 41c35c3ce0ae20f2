"""Whole runs with worker processes: continued, killed, refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.batch import output_store, part_files
from ghost_deploy.batch.file_access import FileAccess
from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.run_manifest import MANIFEST
from ghost_deploy.core.errors import BackendError, StoreError, UnavailableError, UsageError
from tests.support.batch_runs import PretendModel, keys_twice, rows_in, run_pretended
from tests.support.images import solid_image, write_image
from tests.support.waiting import wait_until

pa = pytest.importorskip("pyarrow")


def write_grey(folder: Path, count: int) -> list[Path]:
    return [write_image(folder / f"{k:03}.png", solid_image((64, 64), k)) for k in range(count)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_grey(tmp_path / "images", 40)
    return tmp_path / "images"


REFUSED = {
    "another model": {"model": PretendModel("b" * 64)},
    "other frames": {"identity": {"every": 2}},
    "other classes": {"identity": {"classes": (1,)}},
}


def test_a_run_is_continued_and_another_refused(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pretended([images], out, part_rows=8)
    names = sorted(os.listdir(out))
    for settings in REFUSED.values():
        with pytest.raises(UsageError, match="another model or other settings"):
            run_pretended([images], out, **settings)  # type: ignore[arg-type]
    (images / "000.png").write_bytes(b"changed")  # is done already
    again = run_pretended([images], out)
    assert (again.rows, again.skipped, again.complete) == (0, 40, True)
    write_image(images / "new.png")
    more = run_pretended([images], out)
    assert (more.rows, more.total_rows) == (1, 41)
    assert set(names) < set(os.listdir(out))
    manifest = json.loads((out / MANIFEST).read_text())
    assert (manifest["part_rows"], manifest["complete"]) == (8, True)
    assert sum(part["rows"] for part in manifest["parts"]) == 41
    assert not keys_twice(rows_in(out))


def test_a_part_that_is_removed_is_made_again(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pretended([images], out, part_rows=8)
    part = next(out.glob("*.parquet"))
    before = part.read_bytes()
    part.write_bytes(before[:-9])
    with pytest.raises(StoreError, match="damaged"):
        run_pretended([images], out)
    part.unlink()
    assert run_pretended([images], out).rows == 8
    assert len(rows_in(out)) == 40


def test_an_output_that_holds_something_else(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds something else"):
        run_pretended([images], tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


def test_a_folder_of_ours_with_something_else_in_it(images: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    out = tmp_path / "out"
    run_pretended([images], out, part_rows=8)
    part = next(out.glob("*.parquet"))
    schema = pa.schema([("source", pa.large_string()), *list(parquet.read_schema(part))[1:]])
    parquet.write_table(parquet.read_table(part).cast(schema), part)
    assert run_pretended([images], out).rows == 0
    parquet.write_table(pa.table({"source": ["a"]}), part)
    with pytest.raises(StoreError, match="damaged or was changed"):
        run_pretended([images], out)
    part.unlink()
    parquet.write_table(pa.table({"a": [1]}), out / "video-notes.parquet")
    with pytest.raises(UsageError, match="no parts of this run"):
        run_pretended([images], out)
    (out / "video-notes.parquet").unlink()
    manifest = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(manifest.replace('"part_rows": 8', '"part_rows": 0'))
    with pytest.raises(StoreError, match="part_rows 0"):
        run_pretended([images], out)


def test_the_manifest_is_read_behind_the_lock(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has come and gone between the first look and the lock."""
    out, lock = tmp_path / "out", output_store.lock_output

    def late(*args: Any) -> Any:
        monkeypatch.setattr(output_store, "lock_output", lock)
        run_pretended([images], out, PretendModel("b" * 64), part_rows=8)
        return lock(*args)

    monkeypatch.setattr(output_store, "lock_output", late)
    with pytest.raises(UsageError, match="another model"):
        run_pretended([images], out)
    assert run_pretended([images], out, PretendModel("b" * 64)).skipped == 40


def test_an_output_that_is_a_file_address(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = run_pretended([f"file://{images}"], f"file://{tmp_path}/out")
    assert (report.out, report.parts) == (str(tmp_path / "out"), 3)
    assert sorted(os.listdir(tmp_path)) == ["images", "out"]
    assert run_pretended([f"/{images}"], f"/{tmp_path}/out").skipped == 40


def test_errors_are_read_again(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (images / "004.png").write_bytes(b"")
    (images / "005.png").write_bytes(b"")
    assert run_pretended([images], out, part_rows=8).errors == 2
    write_image(images / "004.png")
    assert run_pretended([images], out).rows == 0
    again = run_pretended([images], out, retry_errors=True)
    assert (again.rows, again.total_rows, again.total_errors) == (2, 40, 1)
    assert not keys_twice(rows_in(out))


@pytest.mark.parametrize(("failures", "is_read"), [(1, True), (2, True), (3, False)])
def test_a_store_that_fails_for_a_moment_is_read_again(
    failures: int, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of a run was left in the bucket where reading it failed once, at the end."""
    answers: list[Exception | bytes] = [OSError("503 SlowDown")] * failures + [b"content"]

    def read(access: FileAccess, address: str, most_bytes: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, bytes):
            return answer
        raise answer

    monkeypatch.setattr(FileAccess, "read", read)
    monkeypatch.setattr(part_files, "_ATTEMPTS_S", (0.0, 0.0))
    with contextlib.nullcontext() if is_read else pytest.raises(StoreError, match="SlowDown"):
        assert PartFiles("s3://bucket/out", FileAccess()).read("a") == b"content"


WRONG_ADDRESSES = (
    *("ftp://host/a.jpg", "github://a/b.jpg", "reference://a.jpg", "s3:///a.jpg", "none://a.jpg"),
    *("dbfs://a.jpg", "ftp://host/a.mp4", "none://a.mp4"),
)


def test_addresses_that_nothing_opens_are_rows_with_errors(images: Path, tmp_path: Path) -> None:
    """fsspec and pyarrow raise TypeError, ValueError and others of their own for them."""
    index = tmp_path / "index.txt"
    index.write_text("\n".join((*WRONG_ADDRESSES, str(images / "000.png"))))
    report = run_pretended([index], tmp_path / "out")
    assert (report.rows, report.errors, report.complete) == (9, 8, True)
    errors = {row["source"]: row["error"] for row in rows_in(tmp_path / "out") if row["error"]}
    assert set(errors) == set(WRONG_ADDRESSES)
    assert all("This is a bug" not in error for error in errors.values())


def test_an_image_that_ends_every_process(images: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    report = run_pretended(
        [images], tmp_path / "out", PretendModel(deadly=11), part_rows=16, note=notes.append
    )
    assert (report.rows, report.errors, report.restarts) == (40, 1, 3)
    (bad,) = [row for row in rows_in(tmp_path / "out") if row["error"]]
    assert bad["source"].endswith("011.png")
    assert sum("ended (SIGKILL)" in note for note in notes) == 3


def test_a_model_that_does_not_open(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no such device"):
        run_pretended([images], tmp_path / "out", PretendModel(opens="no such device"))
    with pytest.raises(BackendError, match="end before they have opened"):
        run_pretended([images], tmp_path / "out", PretendModel(opens="kill"))
    assert rows_in(tmp_path / "out") == []


DRIVER = """
import sys
from tests.support.batch_runs import run_pretended
run_pretended([sys.argv[1]], sys.argv[2], part_rows=4, note=lambda text: print(text, flush=True))
"""


def start_driver(images: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(images), str(out)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_driver_and_two_at_once(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_grey(images, 250)
    with start_driver(images, out) as driver:
        wait_until(lambda: any(out.glob("*.parquet")))
        with pytest.raises(UsageError, match="another run writes"):
            run_pretended([images], out)
        driver.send_signal(signal.SIGKILL)
    first = len(rows_in(out))
    assert run_pretended([images], out).skipped >= min(first, 1)
    rows = rows_in(out)
    assert len(rows) == 250
    assert not keys_twice(rows)
    assert [path.name for path in out.iterdir() if ".ghost-deploy-" in path.name] == []
