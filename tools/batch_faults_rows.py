"""What runs over an archive have left: parts, rows, temporary files."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tools.batch_faults_workplace import Faults


def count_parts(out: Path) -> int:
    return len(list(out.glob("*.parquet"))) if out.is_dir() else 0


def is_complete(out: Path) -> bool:
    try:
        return bool(json.loads((out / "_manifest.json").read_text())["complete"])
    except (OSError, ValueError):
        return False


def check_files(out: Path, faults: Faults) -> None:
    """No part is half."""
    from pyarrow import parquet

    for part in out.glob("*.parquet") if out.is_dir() else ():
        try:
            parquet.read_metadata(part)
        except Exception as error:
            faults.check(False, f"{part.name} is half: {error}")
    with contextlib.suppress(FileNotFoundError):
        json.loads((out / "_manifest.json").read_text())


def check_rows(
    expected: set[tuple[str, int]], out: Path | str, broken: int, faults: Faults, system: Any = None
) -> None:
    from pyarrow import parquet

    table = parquet.read_table(str(out), filesystem=system, columns=["source", "frame", "error"])
    keys = Counter(zip(table["source"].to_pylist(), table["frame"].to_pylist(), strict=True))
    twice = sum(count > 1 for count in keys.values())
    missing, unknown = expected - keys.keys(), keys.keys() - expected
    errors = table.num_rows - table["error"].null_count
    faults.counts["rows"] += table.num_rows
    faults.counts["rows twice"] += twice
    faults.counts["rows missing"] += len(missing)
    faults.check(not twice, f"{twice} rows are there twice")
    faults.check(not missing, f"{len(missing)} rows are missing, e.g. {sorted(missing)[:3]}")
    faults.check(not unknown, f"{len(unknown)} rows are of nothing, e.g. {sorted(unknown)[:3]}")
    faults.check(errors == broken, f"{errors} rows hold an error, {broken} should")
    if system is None:
        left = [path.name for path in Path(out).iterdir() if ".ghost-deploy-" in path.name]
        faults.check(not left, f"temporary files are left: {left[:3]}")
