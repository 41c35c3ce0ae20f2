"""Sources and output in an S3 bucket: one on loopback, which fails as real ones do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from ghost_deploy.batch import run_lock
from ghost_deploy.batch.file_access import FileAccess
from ghost_deploy.batch.found_sources import find_sources
from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.run_lock import RUNNING
from ghost_deploy.core.errors import StoreError, UsageError
from tests.support.batch_runs import keys_twice, run_pretended
from tests.support.images import solid_image
from tests.support.object_store import BUCKET, FailingProxy, delete, object_store, put

pytest.importorskip("pyarrow")
pytest.importorskip("moto", reason="moto, an S3 server for tests, is not installed")
IMAGES, OUT = f"s3://{BUCKET}/images", f"s3://{BUCKET}/out"
COUNT = 60


@pytest.fixture(scope="module")
def store() -> Iterator[FailingProxy]:
    with object_store() as proxy:
        for number in range(COUNT):
            data = cv2.imencode(".png", solid_image((64, 64), number))[1].tobytes()
            put(proxy, f"images/{number % 3}/{number:03}.png", data)
        yield proxy


@pytest.fixture
def proxy(store: FailingProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingProxy]:
    """The store without an output and without failures."""
    access = FileAccess()
    system, path = access.locate(OUT)
    system.delete_dir_contents(path, missing_dir_ok=True)
    store.is_revoked, store.denied = False, ""
    store.slow_share = store.dropped_share = 0.0
    store.counts.clear()
    # A claim that a revoked run could not remove is waited for.
    monkeypatch.setattr(run_lock, "_BEAT_S", 0.2)
    monkeypatch.setattr(run_lock, "_SETTLE_S", 0.05)
    yield store
    store.is_revoked, store.denied, store.slow_share, store.dropped_share = False, "", 0, 0


def rows() -> list[dict[str, Any]]:
    from pyarrow import parquet

    system, path = FileAccess().locate(OUT)
    return list(parquet.read_table(path, filesystem=system).to_pylist())


def names() -> list[str]:
    from pyarrow import fs

    system, path = FileAccess().locate(OUT)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [each.base_name for each in found]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([IMAGES], COUNT),
        ([f"{IMAGES}/1"], 20),
        ([f"{IMAGES}/0/003.png", IMAGES], COUNT),
        ([f"{IMAGES}/*/00?.png"], 10),
        ([f"s3://{BUCKET}/**/05[0-3].png"], 4),
    ],
)
def test_sources(proxy: FailingProxy, words: list[str], count: int) -> None:
    found = find_sources(words, FileAccess(), None, lambda _: None)
    assert len(found.images) == count
    assert all(source.startswith(f"{IMAGES}/") for source in found.images.to_pylist())


def test_hidden_objects_are_left_out_and_others_not(proxy: FailingProxy) -> None:
    names = ("_DSC1.JPG", "_a/b.jpg", ".c.jpg", ".d/e.jpg")
    for name in names:
        put(proxy, f"odd/{name}", b"x")
    notes: list[str] = []
    found = find_sources([f"s3://{BUCKET}/odd"], FileAccess(), None, notes.append)
    assert found.images.to_pylist() == [f"s3://{BUCKET}/odd/{name}" for name in names[:2]]
    assert notes == [f"s3://{BUCKET}/odd: 2 hidden objects are left out"]
    for name in names:
        delete(proxy, f"odd/{name}")


@pytest.mark.parametrize("word", [f"s3://{BUCKET}/none", f"{IMAGES}/none.png", "s3://none/x"])
def test_sources_that_are_not_there(proxy: FailingProxy, word: str) -> None:
    with pytest.raises((UsageError, StoreError)):
        find_sources([word], FileAccess(), None, lambda _: None)


def test_credentials_in_an_address_are_stored_nowhere(proxy: FailingProxy) -> None:
    port = proxy.server_address[1]
    options = f"?scheme=http&endpoint_override=127.0.0.1:{port}"
    run_pretended([f"s3://me:secret@{BUCKET}/images/0{options}"], f"{OUT}{options}")
    found = rows()
    assert len(found) == 20
    assert all(row["source"].startswith(f"{IMAGES}/0/") for row in found)
    assert not any(row["error"] for row in found)


def test_failures_in_between_cost_nothing(proxy: FailingProxy) -> None:
    proxy.slow_share, proxy.dropped_share = 0.1, 0.05
    report = run_pretended([IMAGES], OUT, part_rows=10)
    assert proxy.counts["slow"]
    assert (report.rows, report.errors, report.parts) == (COUNT, 0, 6)
    proxy.slow_share = proxy.dropped_share = 0
    assert not keys_twice(rows())
    assert RUNNING not in names()


def test_one_object_that_may_not_be_read_and_one_that_is_gone(proxy: FailingProxy) -> None:
    proxy.denied = "images/1/004.png"
    listed = f"{IMAGES}/1/001.png", f"{IMAGES}/1/004.png", f"{IMAGES}/no.png", f"{IMAGES}/0/003.png"
    put(proxy, "list.txt", "\n".join(listed).encode())
    report = run_pretended([f"@s3://{BUCKET}/list.txt"], OUT)
    assert (report.rows, report.errors) == (4, 2)
    reasons = {row["source"]: row["error"] for row in rows()}
    assert "no such object" in reasons[f"{IMAGES}/no.png"]
    assert "ACCESS_DENIED" in reasons[f"{IMAGES}/1/004.png"]
    delete(proxy, "list.txt")


@pytest.mark.parametrize("after", [0, 40, 90])
def test_revoked_credentials_stop_the_run(proxy: FailingProxy, after: int) -> None:
    """No source becomes a row with an error because of it, and the next run continues."""
    ended = threading.Event()

    def revoke() -> None:
        while proxy.counts["passed"] < after and not ended.wait(0.005):
            pass
        proxy.is_revoked = True

    thread = threading.Thread(target=revoke)
    thread.start()
    notes: list[str] = []
    try:
        with pytest.raises(StoreError, match="cannot"):
            run_pretended([IMAGES], OUT, part_rows=5, note=notes.append)
    finally:
        ended.set()
        thread.join()
    proxy.is_revoked = False
    before = rows() if any(name.endswith(".parquet") for name in names()) else []
    assert not any(row["error"] for row in before)
    report = run_pretended([IMAGES], OUT, part_rows=5)
    assert (report.total_rows, report.total_errors, report.complete) == (COUNT, 0, True)
    assert report.rows == COUNT - len(before)
    assert not keys_twice(rows())


def test_two_runs_at_once(proxy: FailingProxy) -> None:
    """The second sees that the first writes its claim anew, and is refused."""
    parts, notes = PartFiles(OUT), list[str]()
    with run_lock.lock_output(parts, notes.append):
        with pytest.raises(UsageError, match="another run writes"):
            run_lock.lock_output(parts, notes.append)
        assert "waiting" in notes[0]
    with run_lock.lock_output(parts, notes.append):
        pass
    put(proxy, f"out/{RUNNING}", b'{"token":"x","host":"elsewhere","pid":1}')
    began = time.monotonic()
    with run_lock.lock_output(parts, notes.append):  # it has died
        assert time.monotonic() - began > 0.3


def test_an_object_that_changed(proxy: FailingProxy) -> None:
    run_pretended([f"{IMAGES}/1"], OUT, part_rows=8)
    data = cv2.imencode(".png", solid_image((90, 300), 1))[1].tobytes()
    put(proxy, "images/1/001.png", data)
    notes: list[str] = []
    try:
        report = run_pretended([f"{IMAGES}/1"], OUT, note=notes.append)
        assert (report.rows, report.changed) == (0, 1)
        assert any("1 of 20 sources has changed" in note for note in notes)
        report = run_pretended([f"{IMAGES}/1"], OUT, redo_changed=True)
        assert (report.rows, report.total_rows, len(rows())) == (1, 20, 20)
        assert {row["width"] for row in rows()} == {64, 300}
        assert run_pretended([f"{IMAGES}/1"], OUT).changed == 0
    finally:
        put(proxy, "images/1/001.png", cv2.imencode(".png", solid_image((64, 64), 1))[1].tobytes())
