"""Sources that are no longer what they were when their rows were written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ghost_deploy.batch.file_access import FileAccess, is_remote
from ghost_deploy.batch.found_sources import FoundSources
from ghost_deploy.batch.output_store import WrittenRows
from ghost_deploy.batch.part_files import SUFFIX, PartFiles
from ghost_deploy.batch.source_stamps import Stamp
from ghost_deploy.batch.work_tasks import video_part

MOST_LOOKED_AT = 10_000
"""Of a larger archive that so many are looked at, evenly, if not all are asked for."""
_MOST_S = 2.0
_AT_ONCE = 16
_CHUNK = 4096


@dataclass
class ChangedSources:
    """What was found.

    Attributes:
        sources: that have changed.
        parts: the names of the parts with rows of them.
        looked_at: how many sources were looked at.
        total: how many have rows.
    """

    sources: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    looked_at: int = 0
    total: int = 0

    def add(self, source: str, parts: Iterable[str]) -> None:
        """A source has changed, of which these parts have rows."""
        self.sources.add(source)
        self.parts.update(parts)

    def described(self) -> str:
        """In words, e.g. `3 of 300 sources have changed since their rows were written`."""
        some = self.looked_at < self.total
        looked = f"{self.looked_at} sources that were looked at (of {self.total})"
        which = looked if some else f"{self.total} sources"
        has = "has" if len(self.sources) == 1 else "have"
        return (
            f"{len(self.sources)} of {which} {has} changed since their rows were written, "
            f"e.g. {min(self.sources)}"
        )


def find_changed(
    found: FoundSources, written: WrittenRows, access: FileAccess, *, every: bool
) -> ChangedSources:
    """Compare the sources with the size and time that their rows hold.

    Args:
        found: the sources of this run; others are not looked at.
        written: what the output holds.
        access: opens stores.
        every: look at all of them; else at so many as takes no noticeable time.
    """
    odd = {**found.odd, **{file.source: file.opened for file in found.videos}}
    named = found.named()
    rows = [*_video_rows(written, named), *_image_rows(written, named, every=every)]
    total = len(written.videos) + len(written.images)
    changed = ChangedSources(total=total)
    look = _Look(access, None if every else _MOST_S)
    paths = (odd.get(source) or source for source, _, _ in rows)
    for (source, stamps, parts), now in zip(rows, look.at(paths), strict=False):
        changed.looked_at += 1
        if any(stamp.differs(now) for stamp in stamps):
            changed.add(source, parts)
    is_all = every or len(written.images) <= MOST_LOOKED_AT
    if is_all and changed.looked_at == len(rows):
        changed.looked_at = total  # sources that are named no longer are as they were
    return changed


def unfinished_changed(
    found: FoundSources, written: WrittenRows, access: FileAccess
) -> ChangedSources:
    """The videos of which some parts are written and the file has changed since: few at most."""
    named, changed = found.named(), ChangedSources()
    paths = {file.source: file.opened for file in found.videos}
    for source, stamps, parts in _video_rows(written, named):
        if parts[0].rpartition("-")[0] not in written.ended and source in paths:
            now = access.stamp(paths[source])
            if any(stamp.differs(now) for stamp in stamps):
                changed.add(source, parts)
    return changed


def forget(changed: ChangedSources, parts: PartFiles) -> None:
    """Remove the rows of sources that have changed: they are detected again like new ones.

    Raises:
        StoreError: a part cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pa.array(sorted(changed.sources), pa.string())
    for name in sorted(changed.parts):
        table = parts.read_part(name)
        if table is None:
            continue
        left = table.filter(pc.invert(pc.is_in(table["source"], value_set=gone)))
        if len(left):
            parts.write_part(name, left)
        else:
            parts.remove(name + SUFFIX)


class _Look:
    """Looks at files, until the time is over where there is a limit."""

    def __init__(self, access: FileAccess, most_s: float | None) -> None:
        self._access = access
        self._end_s = None if most_s is None else time.monotonic() + most_s

    def at(self, paths: Iterable[str]) -> Iterator[Stamp]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting: list[str] = []
            for path in paths:
                waiting.append(path)
                if len(waiting) >= (_CHUNK if self._end_s is None else _AT_ONCE):
                    yield from self._stamps(waiting, pool.map)
                    waiting = []
                    if self._end_s is not None and time.monotonic() > self._end_s:
                        return
            yield from self._stamps(waiting, pool.map)

    def _stamps(self, paths: list[str], at_once: Callable[..., Iterator[Any]]) -> Iterator[Stamp]:
        # Threads pay where a store is asked; a call of the system is shorter than their exchange.
        each = at_once if any(map(is_remote, paths)) else map
        yield from each(self._access.stamp, paths)


_Row = tuple[str, list[Stamp], list[str]]


def _video_rows(written: WrittenRows, named: Any) -> list[_Row]:
    """Of each video its source, the stamps of its parts, and their names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [name for name in written.videos if name in written.video_stamps]
    sources = pa.array([written.video_stamps[name][0] for name in names], pa.large_string())
    wanted = pc.is_in(sources, value_set=named).to_pylist()
    rows = []
    for name, source, is_wanted in zip(names, sources.to_pylist(), wanted, strict=True):
        if is_wanted:
            numbers = sorted(written.videos[name])
            stamps = list(written.video_stamps[name][1])
            rows.append((source, stamps, [video_part(name, number) for number in numbers]))
    return rows


def _image_rows(written: WrittenRows, named: Any, *, every: bool) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.compute as pc

    step = 1 if every else -(-len(written.images) // MOST_LOOKED_AT) or 1
    start, tables = 0, []
    for part, table in written.image_parts:
        chosen = table.take(list(range(-start % step, len(table), step)))
        start += len(table)
        names = pa.array([part] * len(chosen), pa.string()).dictionary_encode()
        tables.append(chosen.append_column("part", names))
    if not tables:
        return
    # One look-up for all: each makes a table of all sources.
    rows = pa.concat_tables(tables).unify_dictionaries()
    rows = rows.filter(pc.is_in(rows["source"].cast(named.type), value_set=named))
    columns = [rows[name].to_pylist() for name in ("source", "part", *Stamp._fields)]
    for source, part, size, modified in zip(*columns, strict=True):
        yield source, [Stamp(size, modified)], [part]
