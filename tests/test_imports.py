"""The import table of docs/architecture.md: which room may import which, and which packages."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ghost_deploy"
BASE = {"msgspec", "numpy", "typing_extensions"}
CORE = {"core", "_version"}

# room: (our rooms that it may import, third-party packages that it may import)
TABLE: dict[str, tuple[set[str], set[str]]] = {
    "_version": (set(), set()),
    "core": (CORE, BASE),
    "core.detections": (CORE, BASE | {"supervision"}),
    "processing": (CORE, BASE | {"cv2"}),
    "processing.data_yaml": (CORE | {"processing"}, BASE),
    "processing.strict_yaml": (CORE, BASE | {"yaml"}),
    "demo": (CORE, BASE | {"cv2"}),
    "models": (CORE, BASE | {"torch", "yaml"}),
    "checkpoints": (CORE | {"models"}, BASE | {"torch", "safetensors"}),
    "runtimes": (CORE, BASE),
    "runtimes.opener": (CORE | {"runtimes"}, BASE),
    "runtimes.file_description": (CORE | {"runtimes", "processing"}, BASE),
    "runtimes.ort": (CORE | {"runtimes"}, BASE | {"onnxruntime"}),
    "runtimes.ort_float16": (CORE, BASE | {"onnx"}),
    "runtimes.ncnn": (CORE | {"runtimes"}, BASE | {"ncnn"}),
    "runtimes.openvino": (CORE | {"runtimes"}, BASE),
    "runtimes.openvino_package": (CORE, BASE | {"openvino"}),
    "runtimes.eager": (CORE | {"runtimes", "checkpoints"}, BASE | {"torch"}),
    "runtimes.litert": (CORE | {"runtimes"}, BASE | {"ai_edge_litert"}),
    "runtimes.kserve": (CORE | {"runtimes"}, BASE | {"grpc", "tritonclient"}),
    "runtimes.rknn": (CORE | {"runtimes"}, BASE | {"rknnlite"}),
    "runtimes.tensorrt": (CORE, BASE | {"tensorrt"}),
    "detector": (CORE | {"processing", "runtimes"}, BASE),
    "export": (
        CORE | {"processing", "models", "checkpoints", "runtimes"},
        BASE | {"torch", "onnx", "onnxsim", "openvino", "onnxruntime"},
    ),
    "export.converters": (CORE, BASE | {"litert_torch", "rknn", "torch"}),
    "export.integrations.triton_model": (
        CORE | {"processing"},
        BASE | {"triton_python_backend_utils"},
    ),
    "calib": (
        CORE | {"processing", "runtimes", "export"},
        BASE | {"cv2", "onnxruntime", "nncf", "ncnn", "openvino", "onnx", "rich"},
    ),
    "judge": (
        CORE | {"processing", "runtimes", "detector", "demo", "checkpoints", "models"},
        BASE | {"cv2", "torch", "pycocotools"},
    ),
    "stream": (
        CORE | {"processing", "detector"},
        BASE | {"cv2", "av", "paho", "PIL", "starlette", "uvicorn"},
    ),
    "batch": (
        CORE | {"batch", "processing", "detector", "stream"},
        BASE | {"cv2", "pyarrow", "fsspec"},
    ),
    "batch.ray_engine": (CORE | {"batch"}, BASE | {"ray"}),
    "report": (CORE, BASE | {"jinja2"}),
    "remote": (CORE | {"runtimes"}, BASE),
}
ABOVE = {"api", "cli", "__init__"}  # may import every room


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def row_of(name: str) -> str:
    """The most specific row of the table for a module, e.g. `runtimes.ort` or `processing`."""
    while name not in TABLE and "." in name:
        name = name.rpartition(".")[0]
    return name if name in TABLE else name.split(".", maxsplit=1)[0]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute module name, line) of every import, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            yield module, node.lineno
            if module == "ghost_deploy":
                yield from ((f"ghost_deploy.{alias.name}", node.lineno) for alias in node.names)


def violations(path: Path) -> Iterator[str]:
    name = dotted(path)
    row = row_of(name)
    if row in ABOVE:
        return
    rooms, packages = TABLE[row]
    home = name.split(".", maxsplit=1)[0]
    for module, line in imports(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{line} imports {module}"
        top, _, rest = module.partition(".")
        if top == "ghost_deploy":
            room = rest.split(".")[0]
            same = room == home and (row_of(rest) in {row, home} or room == "core")
            if room and not same and room not in rooms:
                yield f"{where}: {row} may import {sorted(rooms)}"
        elif top not in sys.stdlib_module_names and top not in packages:
            yield f"{where}: {row} may import {sorted(packages)}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_a_module_imports_only_what_the_table_allows(path: Path) -> None:
    assert list(violations(path)) == []


@pytest.mark.parametrize("row", TABLE)
def test_nothing_is_allowed_that_is_not_used(row: str) -> None:
    used = set()
    for path in modules():
        if row_of(dotted(path)) == row:
            for module, _ in imports(path):
                top, _, rest = module.partition(".")
                used.add(rest.partition(".")[0] if top == "ghost_deploy" else top)
    rooms, packages = TABLE[row]
    assert (rooms - CORE) | (packages - BASE) <= used


def test_the_check_sees_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    bad = tmp_path / "processing" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("def f():\n    import torch\n    from ghost_deploy import detector\n")
    assert len(list(violations(bad))) == 2


def depends_on(path: Path, names: set[str]) -> set[str]:
    """Our modules that a module imports at its head, for its types too, not in functions."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ghost_deploy"):
            module = (node.module or "").removeprefix("ghost_deploy").removeprefix(".")
            members = {f"{module}.{alias.name}".removeprefix(".") for alias in node.names}
            found |= members & names or {module} & names
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes.extend(ast.iter_child_nodes(node))
    return found


def circle(paths: list[Path]) -> list[str]:
    """The modules of one circle of imports; empty if there is none."""
    names = {dotted(path) for path in paths}
    sorter = graphlib.TopologicalSorter({dotted(p): depends_on(p, names) for p in paths})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle(modules()) == []


def test_a_circle_is_seen_even_if_it_is_of_types_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "core").mkdir()
    one, two = tmp_path / "core" / "one.py", tmp_path / "core" / "two.py"
    one.write_text("from ghost_deploy.core.two import Two\n")
    two.write_text("def f():\n    from ghost_deploy.core.one import One\n")
    assert circle([one, two]) == []
    two.write_text("if TYPE_CHECKING:\n    from ghost_deploy.core import one\n")
    assert sorted(set(circle([one, two]))) == ["core.one", "core.two"]


HEAVY = ("grpc", "torch", "onnx", "onnxruntime", "openvino", "cv2", "rich", "tensorrt")


@pytest.mark.parametrize(
    "code",
    [
        "import ghost_deploy",
        "import ghost_deploy.cli.main",
        "import ghost_deploy.runtimes",
        "import ghost_deploy.core.bundle, ghost_deploy.core.detections, ghost_deploy.core.frame",
    ],
)
def test_light_imports_load_no_vendor(code: str) -> None:
    probe = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
