"""Values of the document as text: a function for each form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ABSENT = "-"
"""Written where there is no value."""


def visible(text: str) -> str:
    """`text` with every character that cannot be seen replaced.

    Names come from untrusted files; control and direction marks could disguise them.
    """
    return "".join(c if c.isprintable() or c == " " else "\ufffd" for c in text)


def points(value: float) -> str:
    """A difference in points, with its sign; what rounds to nothing has none."""
    text = f"{value:+.2f}"
    return text.lstrip("+-") if float(text) == 0 else text


_RUNTIMES = {
    "eager": "PyTorch",
    "kserve": "KServe",
    "litert": "LiteRT",
    "ncnn": "NCNN",
    "openvino": "OpenVINO",
    "rknn": "RKNN",
    "ort": "ONNX Runtime",
    "trt": "TensorRT",
}


def runtime_title(name: str) -> str:
    """How a runtime is written for a person, e.g. `ONNX Runtime` for `ort`."""
    return _RUNTIMES.get(name, visible(name))


def _list(values: Any) -> str:
    return visible(", ".join(map(str, values))) or ABSENT


def _hundredths(value: float) -> str:
    """Two places after the point; what rounds to nothing has no sign."""
    text = f"{value:.2f}"
    return text.lstrip("-") if float(text) == 0 else text


def _any(value: Any) -> str:
    """A value whose meaning is not known."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value)) or ABSENT


def _matched(found: Any) -> str:
    """`DetectionFigures`: matched pairs, of all pairs and unpaired detections of both sides."""
    total = sum(found.get(key, 0) for key in ("matched", "displaced", "missing", "extra"))
    return f"{found.get('matched', 0):,} of {total:,}" if total else "none found"


def _range(ends: Any) -> str:
    """`Interval`."""
    return f"{points(ends['low'])} to {points(ends['high'])}"


def _difference(row: Any) -> str:
    """`AccuracyRow` or `ClassDelta`: points gained or lost, and the interval."""
    if row.get("delta") is None:
        return ABSENT
    interval = row.get("interval")
    return points(row["delta"]) + (f" ({_range(interval)})" if interval else "")


FORMS: dict[str, Callable[[Any], str]] = {
    "text": lambda value: visible(str(value)) or ABSENT,
    "any": _any,
    "list": _list,
    "first": lambda values: _list(values[:1]),
    "few": lambda values: _list([*values[:5], *(["..."] if len(values) > 5 else [])]),
    "length": lambda values: f"{len(values):,}",
    "counts": lambda counts: _list(f"{count} {name}" for name, count in counts.items()),
    "runtime": runtime_title,
    "upper": lambda value: visible(str(value)).upper(),
    "hash": lambda value: visible(str(value))[:12] or ABSENT,
    "date": lambda value: visible(str(value))[:16].replace("T", " "),
    "count": lambda value: f"{value:,}",
    "plain": lambda value: f"{value:g}",
    "small": lambda value: f"{value:.2g}",
    "px": lambda value: f"{value:.2g} px",
    "ms": _hundredths,
    "ms0": lambda value: f"{value:.0f}",
    "margin": lambda value: f"{value:.2f}" if value else ABSENT,  # 0: not measured
    "seconds": lambda value: f"{float(f'{value:.3g}'):g} s",
    "map": lambda value: f"{value:.4f}",
    "conf": lambda value: f"{value:.4g}",
    "figure": lambda value: f"{value:.3f}",
    "between": lambda ends: f"{ends['low']:.3f} to {ends['high']:.3f}",
    "score": lambda value: f"{value:.2f}",
    "points": points,
    "ratio": lambda value: f"{value:.2f}",
    "rate2": _hundredths,
    "giga": lambda value: f"{value / 1e9:.3f} G",
    "rate": lambda value: f"{value:.1f}",
    "share": lambda value: f"{value:.1%}".replace("%", " %"),
    "percent": lambda value: f"{value:.0%}".replace("%", " %"),
    "mib": lambda value: f"{value / 2**20:.1f} MiB",
    "gib": lambda value: f"{value / 2**30:.1f} GiB",
    "watts": lambda value: f"{value:.2f} W",
    "millijoules": lambda value: f"{1000 * value:.1f} mJ",
    "celsius": lambda value: f"{value:.1f} °C",
    "load": lambda value: f"{value:.0f} %",
    "matched": _matched,
    "difference": _difference,
    "quartiles": lambda r: f"{r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})",
    "int8 share": lambda run: f"{run['int8_macs'] / (run['macs'] or 1):.1%}".replace("%", " %"),
}
"""Name of a form to its function. Values that are None are written as `ABSENT`."""


def write(value: Any, form: str) -> str:
    """The value in that form."""
    return ABSENT if value is None else FORMS[form](value)
