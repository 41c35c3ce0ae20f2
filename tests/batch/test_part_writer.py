"""Parts that are written while other work goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.part_writer import PartWriter
from ghost_deploy.batch.work_plan import _blocks
from ghost_deploy.batch.work_tasks import images_name
from ghost_deploy.core.errors import StoreError
from tests.support.batch_runs import run_pretended
from tests.support.images import write_image, write_images


@dataclass
class SlowParts:
    """Writes when it is let, or fails."""

    let: threading.Event = field(default_factory=threading.Event)
    names: list[str] = field(default_factory=list)

    def write_part(self, name: str, table: object, facts: object) -> None:
        if name == "full":
            raise StoreError("the disk is full", fix="Free some")
        self.let.wait(20)
        self.names.append(name)


def writer(parts: SlowParts) -> PartWriter:
    return PartWriter(cast(PartFiles, parts))


def test_what_follows_comes_when_all_is_written() -> None:
    parts = SlowParts()
    with writer(parts) as write:
        write.write("one", None)
        told = write.then(lambda: parts.names.append("told"))
        assert parts.names == []
        parts.let.set()
        told.result(20)
        write.write("two", None)
    assert parts.names == ["one", "told", "two"]


def test_an_error_is_raised_once_and_nothing_follows_it() -> None:
    parts = SlowParts()
    parts.let.set()
    with writer(parts) as write:
        write.write("full", None)
        told = write.then(lambda: parts.names.append("told"))
        assert isinstance(told.exception(20), StoreError)
        with pytest.raises(StoreError, match="disk is full"):
            write.write("two", None)
        write.wait()
    assert parts.names == []


def test_the_last_part_of_a_run_cannot_be_written(tmp_path: Path) -> None:
    """The worker waits for its next task then, and must say it all the same."""
    pytest.importorskip("pyarrow")
    images = write_images(tmp_path / "images", 3, (48, 96))
    out = tmp_path / "out"

    def note(text: str) -> None:
        # A folder in the place of the part: the run has begun, and cannot write.
        part = images_name(sorted(map(str, images)))
        (out / f"{part}.parquet" / "x").mkdir(parents=True, exist_ok=True)

    write_image(tmp_path / "one.png")
    run_pretended([tmp_path / "one.png"], out)
    with pytest.raises(StoreError):  # the run says on which it continues, and then it works
        run_pretended([tmp_path / "images"], out, part_rows=16, note=note)


BLOCKS = [(0, 10, 0), (5, 10, 1), (60, 16, 4), (2000, 125, 32), (20_000, 1000, 60)]


@pytest.mark.parametrize(("count", "rows", "parts"), BLOCKS)
def test_parts_become_smaller_at_the_end(count: int, rows: int, parts: int) -> None:
    blocks = list(_blocks(count, rows))
    assert len(blocks) == parts
    assert [start for start, _ in blocks] == [sum(n for _, n in blocks[:k]) for k in range(parts)]
    assert sum(size for _, size in blocks) == count
    assert all(0 < size <= rows for _, size in blocks)
