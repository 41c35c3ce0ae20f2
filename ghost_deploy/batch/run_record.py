"""The result of a run over an archive."""

from __future__ import annotations

import msgspec


class BatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, and what its output holds.

    Attributes:
        out: path or address of the output.
        engine: `local` or `ray`.
        cluster: that Ray ran on; empty for `local`.
        sources: images and videos that the inputs name.
        duplicates: how many times a source was named again.
        skipped: sources that had their rows before.
        changed: sources that are no longer what they were when their rows were written.
        rows: that this run wrote.
        errors: of them, how many hold an error.
        total_rows, total_errors: of the output.
        parts: files of the output.
        seconds: of this run.
        rate: rows a second, from the first worker that was ready.
        workers: rows a second of each worker.
        restarts: worker processes that ended and were replaced; Ray does not count them.
        model: sha256 of the model.
        complete: every source has its rows.
        first_errors: source and reason of the first rows of the output that hold an error.
        schema: version of this document.
    """

    out: str
    engine: str
    cluster: str = ""
    sources: int
    duplicates: int = 0
    skipped: int = 0
    changed: int = 0
    rows: int = 0
    errors: int = 0
    total_rows: int = 0
    total_errors: int = 0
    parts: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    workers: dict[str, float] = {}
    restarts: int = 0
    model: str = ""
    complete: bool = True
    first_errors: tuple[tuple[str, str], ...] = ()
    schema: int = 1
