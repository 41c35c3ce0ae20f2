"""What a check on a GPU has found, in markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def markdown(document: dict[str, Any]) -> Iterator[str]:
    """The tables of a result."""
    yield f"# GPU check of {document['model']}\n"
    if document["dry_run"]:
        yield f"**A dry run on a fake TensorRT {document['dry_run']}: no figure means anything.**\n"
    yield from _machine(document)
    yield from _table(
        ("part", "state", "s", "why"),
        [(p["name"], p["state"], p["seconds"], p["reason"]) for p in document["parts"]],
    )
    yield from _failures(document)
    yield from _builds(document["builds"])
    kinds: dict[str, tuple[Sequence[str], Callable[[Any], Iterator[tuple[object, ...]]]]] = {
        "parity": (("artifact", "runtime", "verdict", "matched", "score", "box px"), _parity),
        "validate": (("artifact", "runtime", "mAP50-95", "mAP50", "points lost"), _accuracy),
        "bench": (("model", "artifact", "runtime", "p50 ms", "p90 ms", "p99 ms"), _latency),
        "device": (("artifact", "device", "p50 ms", "least ms"), _on_device),
    }
    for part in document["parts"]:
        kind = part["name"].partition(" ")[0]
        if part["document"] and kind in kinds:
            heads, rows = kinds[kind]
            yield f"\n## {part['name']}\n"
            yield from _table(heads, list(rows(part["document"])))


def _machine(document: dict[str, Any]) -> Iterator[str]:
    by_name = {part["name"]: part["document"] for part in document["parts"]}
    doctor = by_name.get("doctor")
    if not doctor:
        return
    machine = doctor["machine"]
    gpus = ", ".join(machine.get("nvidia_gpus") or [machine.get("board") or "no NVIDIA GPU"])
    yield f"{gpus}; driver {machine.get('nvidia_driver') or 'none'}; {machine['system']}.\n"
    for runtime in doctor["runtimes"]:
        yield f"- {runtime['runtime']} {runtime.get('version') or 'not installed'}"
    for name, value in (by_name.get("facts") or {}).items():
        yield f"- {name}: {value}"
    yield ""


def _failures(document: dict[str, Any]) -> Iterator[str]:
    """All that did not work, each with its cause."""
    lines = [
        f"- {part['name']}: {part['state']}, {part['reason']}"
        for part in document["parts"]
        if part["state"] not in ("done", "skipped")
    ]
    for part in document["parts"]:
        lines += [f"- {part['name']}, {row}" for row in broken_rows(part["document"])]
    if lines:
        yield "\n## What did not work\n"
        yield from lines


def broken_rows(document: Any) -> Iterator[str]:
    """The rows of a report that failed, with their reasons."""
    rows = document.get("rows", ()) if isinstance(document, dict) else ()
    for row in rows:
        if row.get("status") == "failed":
            why = row.get("reason") or "; ".join(row.get("reasons", ()))
            runtime = row.get("runtime") or (row.get("config") or {}).get("runtime", "")
            yield f"{row['artifact']} on {runtime}: {why}"


def _builds(builds: dict[str, Any]) -> Iterator[str]:
    rows = [
        (bundle, name, record["route"], _counts(record["precisions"]), record["reformats"],
         record["pinned"], "; ".join(record["notes"]))
        for bundle, engines in builds.items()
        for name, record in engines.items()
    ]  # fmt: skip
    if rows:
        yield "\n## Engines\n"
        heads = ("bundle", "engine", "route", "layers", "reformat", "pinned", "notes")
        yield from _table(heads, rows)


def _counts(precisions: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in precisions.items())


def _parity(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        found = row.get("detections") or {}
        matched = f"{found['matched']} of {found['total']}" if "total" in found else ""
        worst = [(found.get(name) or {}).get("max", "") for name in ("score", "box_px")]
        yield row["artifact"], row["runtime"], row["status"], matched, *worst


def _accuracy(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        figures = row.get("accuracy") or {}
        yield (
            row["artifact"], row["runtime"], figures.get("map50_95", ""),
            figures.get("map50", ""), row.get("delta", ""),
        )  # fmt: skip


def _latency(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        stage = ((row.get("figures") or {}).get("stages") or {}).get("run_alone")
        times = [stage[name] for name in ("p50", "p90", "p99")] if stage else [row["status"]]
        yield row["subject"], row["artifact"], row["config"]["runtime"], *times


def _on_device(report: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for row in report:
        times = (round(statistics.median(row["ms"]), 4), round(min(row["ms"]), 4))
        yield row["artifact"], row["device"], *times


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
        yield "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
