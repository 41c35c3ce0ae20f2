"""The output of a run: its manifest, its parts, and which sources have their rows already."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ghost_deploy.batch.file_access import FileAccess, is_remote, local_path, shown
from ghost_deploy.batch.part_files import SUFFIX, PartFiles
from ghost_deploy.batch.run_lock import LOCK, RUNNING, lock_output
from ghost_deploy.batch.run_manifest import MANIFEST, PartRecord, RunManifest, refuse_other
from ghost_deploy.batch.source_stamps import Stamp
from ghost_deploy.batch.video_frames_task import LAST
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import StoreError, UsageError

_AT_ONCE = 16
_REASONS = 5
_PART = re.compile(r"(images-[0-9a-f]{20}|video-[0-9a-f]{20}-[0-9]{6,})\.parquet")
_OURS = frozenset({LOCK, RUNNING, MANIFEST})


@dataclass
class WrittenRows:
    """What an output holds.

    Attributes:
        images: a `pyarrow.ChunkedArray` of the sources that have a row with frame 0 and no time:
            images.
        image_parts: name and table of each part of images: source, and its `Stamp` in columns.
        videos: of each video the numbers of its parts, by `video_name`.
        video_stamps: the source of each video and the stamps of its parts, by `video_name`.
        video_sources: the sources of those videos.
        ended: of the videos whose last part is there its number, by `video_name`.
        failed: names of parts with errors, and the sources of those errors.
        reasons: source and error of the first rows with one.
        records: of all parts.
    """

    images: Any
    image_parts: list[tuple[str, Any]] = field(default_factory=list)
    videos: dict[str, set[int]] = field(default_factory=dict)
    video_stamps: dict[str, tuple[str, set[Stamp]]] = field(default_factory=dict)
    video_sources: set[str] = field(default_factory=set)
    ended: dict[str, int] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    records: list[PartRecord] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(record.rows for record in self.records)

    @property
    def errors(self) -> int:
        """How many of them hold an error."""
        return sum(record.errors for record in self.records)


class OutputStore(Closing):
    """An output folder or bucket that this run alone writes to.

    Args:
        out: path or address of the folder; it is made where it is missing.
        manifest: of the run.
        note: is told of a wait for another run.

    Attributes:
        parts: its files.
        manifest: with the size of parts of the run that is continued.

    Raises:
        UsageError: it holds something else, rows of another model, or another run writes there.
        StoreError: it cannot be read or written to.
    """

    def __init__(self, out: str, manifest: RunManifest, note: Callable[[str], None]) -> None:
        place = shown(out) if is_remote(out) else local_path(out)
        self.parts = PartFiles(place, FileAccess.of([out]))
        self._asked = manifest
        self._continued()  # a folder that is refused stays as it is, without a lock
        self._lock = lock_output(self.parts, note)
        try:
            # Again: no other run changes what is there now.
            found = self._continued()
            self.is_continued = found is not None
            self.manifest = found or manifest
            if found is None:
                self.parts.write(MANIFEST, self.manifest.to_json())
        except BaseException:
            self.close()
            raise

    def _continued(self) -> RunManifest | None:
        """The manifest with the size of parts of the run that is there; None if none is."""
        place = self.parts.out
        there = self.parts.names() if self.parts.is_remote else _local_names(Path(place))
        data = self.parts.read(MANIFEST) if MANIFEST in there else None
        if data is None:
            _refuse_foreign(place, there)
            return None
        found = RunManifest.from_json(data, self.parts.where(MANIFEST))
        refuse_other(found.identity, self._asked.identity, place)
        _refuse_other_parts(place, there)
        return msgspec.structs.replace(self._asked, part_rows=found.part_rows)

    def close(self) -> None:
        """Let other runs write there."""
        self._lock.close()

    def written(self) -> WrittenRows:
        """Read the keys of all parts.

        Raises:
            StoreError: the store refuses, or a part is damaged.
        """
        import pyarrow as pa

        files = [name for name in self.parts.names() if name.endswith(SUFFIX)]
        names = [name.removesuffix(SUFFIX) for name in files if not name.startswith((".", "_"))]
        chunks: list[Any] = []
        found = WrittenRows(None)
        columns = ["source", "frame", "error", *Stamp._fields]
        # A store answers after tens of milliseconds, and there may be ten thousand parts.
        with ThreadPoolExecutor(_AT_ONCE if self.parts.is_remote else 1) as pool:
            tables = pool.map(lambda name: self.parts.read_part(name, columns), names)
            for name, table in zip(names, tables, strict=True):
                if table is not None:
                    _add(name, table, found, chunks)
        found.images = pa.chunked_array(chunks, type=pa.string()).cast(pa.large_string())
        return found

    def save(self, records: list[PartRecord], *, complete: bool) -> None:
        """Write the manifest with the parts that are there.

        Raises:
            StoreError: it cannot be written.
        """
        parts = tuple(sorted(records, key=lambda record: record.file))
        document = msgspec.structs.replace(self.manifest, parts=parts, complete=complete)
        self.parts.write(MANIFEST, document.to_json())


def _add(name: str, table: Any, found: WrittenRows, chunks: list[Any]) -> None:
    import pyarrow.compute as pc

    is_error = pc.is_valid(table["error"])
    errors = pc.sum(is_error).as_py() or 0
    found.records.append(PartRecord(name + SUFFIX, table.num_rows, errors))
    if errors:
        failed = table.filter(is_error)
        found.failed[name] = failed["source"].to_pylist()
        few = failed.slice(0, _REASONS - len(found.reasons)).to_pylist()
        found.reasons += [(row["source"], row["error"]) for row in few]
    if not name.startswith("video-"):
        chunks += table["source"].chunks
        found.image_parts.append((name, table.select(["source", *Stamp._fields])))
        return
    video, _, number = name.rpartition("-")
    found.videos.setdefault(video, set()).add(int(number))
    found.video_sources.update(pc.unique(table["source"]).to_pylist())
    if len(table):
        first = table.slice(0, 1).to_pylist()[0]
        stamp = Stamp(*(first[each] for each in Stamp._fields))
        found.video_stamps.setdefault(video, (first["source"], set()))[1].add(stamp)
    if (table.schema.metadata or {}).get(LAST.encode()):
        found.ended[video] = max(int(number), found.ended.get(video, 0))


def _local_names(folder: Path) -> list[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise StoreError(
            f"cannot use {folder} as the output",
            got=error.strerror,
            fix="Give a folder that you may write to",
        ) from error


def _refuse_other_parts(place: str, names: list[str]) -> None:
    """Require that all Parquet files are parts: who reads the folder reads them all."""
    others = [each for each in names if each.endswith(SUFFIX) and each[0] not in "._"]
    others = [each for each in others if not _PART.fullmatch(each)]
    if others:
        raise UsageError(
            f"{place} holds Parquet files that are no parts of this run",
            got=", ".join(others[:5]),
            fix="Move them elsewhere: who reads the folder as one table would read them too",
        )


def _refuse_foreign(place: str, names: list[str]) -> None:
    others = [name for name in names if name not in _OURS and not name.startswith(".")]
    if others:
        raise UsageError(
            f"{place} holds something else",
            got=", ".join(others[:5]),
            expected=f"a new or empty folder, or one with {MANIFEST}",
            fix="Give another folder with -o",
        )
