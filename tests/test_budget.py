"""The size budget: functions of at most 60 lines, modules of at most 300.

Argue for more in CONTRIBUTING.md before raising a figure here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    path for room in ("ghost_deploy", "tools", "benchmarks") for path in (ROOT / room).rglob("*.py")
)
MAX_FUNCTION, MAX_MODULE = 60, 300


def long_functions(source: str) -> list[str]:
    """`name: lines` of the functions over the budget; the docstring does not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None and first.end_lineno is not None
            doc_lines = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - doc_lines
            if lines > MAX_FUNCTION:
                found.append(f"{node.name}: {lines}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_budget(path: Path) -> None:
    source = path.read_text()
    assert long_functions(source) == [], "split it or argue for a higher budget"
    assert source.count("\n") <= MAX_MODULE, "split it or argue for a higher budget"


def test_the_check_sees_a_long_function() -> None:
    source = "def f():\n" + "    x = 1\n" * (MAX_FUNCTION + 1)
    assert long_functions(source) == [f"f: {MAX_FUNCTION + 2}"]
