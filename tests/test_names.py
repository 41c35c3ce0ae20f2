"""One name, one thing: public classes and module files of the package are unique."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ghost_deploy"

MIRRORED = {
    # a verb and its command
    *(
        "batch",
        "bench",
        "build",
        "calibrate",
        "check",
        "sign",
        "compare",
        "demo",
        "doctor",
        "export",
        "infer",
        "inspect",
        "parity",
    ),
    *("report", "validate"),
    # kinds of evidence and the sections of a report that show them
    *("accuracy", "int8", "latency"),
    # export targets, their backends
    *("litert", "ncnn", "openvino", "rknn"),
}
"""Names of modules that say the same thing in mirrored places."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def test_no_public_class_name_is_defined_twice() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_name_repeats() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in modules():
        if path.stem not in MIRRORED:
            places[path.stem].add(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_mirrored_names_are_mirrored() -> None:
    """An entry that no longer repeats leaves the list."""
    stems = [path.stem for path in modules()]
    assert {name for name in MIRRORED if stems.count(name) < 2} == set()
