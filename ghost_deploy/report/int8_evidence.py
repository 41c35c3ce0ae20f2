"""What a bundle's int8 evidence says, read from its plain form.

Its types belong to a room that reports may not import; whatever is missing or of another form is
passed over, and the general listing of evidence shows it instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghost_deploy.report.blocks import BundleFacts

__all__ = ["KIND", "int8_rows", "is_int8"]

KIND = "int8"
"""Kind of the evidence in a bundle."""

_SCHEMA = 1
_KEYS = {"judged", "calibration", "rows", "trials", "speed", "sensitivity"}
_ROW = {"artifact", "sha256", "status", "points", "drop", "max_drop", "form", "recipe"}


def is_int8(document: Any) -> bool:
    """Whether evidence has the form that is known here."""
    if not isinstance(document, Mapping) or not document.keys() >= _KEYS:
        return False
    rows = document["rows"]
    return (
        document.get("schema") == _SCHEMA
        and isinstance(rows, Sequence)
        and all(isinstance(row, Mapping) and row.keys() >= _ROW for row in rows)
    )


def int8_rows(bundles: Sequence[BundleFacts]) -> Iterator[tuple[str, str, str]]:
    """sha256, status and sentence of each artifact that was judged."""
    for bundle in bundles:
        document = bundle.document.evidence.get(KIND)
        if not is_int8(document):
            continue
        assert document is not None
        for row in document["rows"]:
            yield str(row["sha256"]), str(row["status"]), _sentence(row)


def _sentence(row: Mapping[str, Any]) -> str:
    drop, most = row["drop"], row["max_drop"]
    if not isinstance(drop, int | float) or not isinstance(most, int | float):
        return "its accuracy was not measured"
    return f"lost {drop:.2f} points against float, at most {most:g} allowed"
