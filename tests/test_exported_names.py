"""What `__all__` promises is there; the public names stay what they are. Ruff keeps it sorted."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import ghost_deploy as gd

PACKAGE = Path(gd.__file__).parent


def declared(path: Path) -> list[str] | None:
    """The literal `__all__` of a file, or None where it has none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


FILES = sorted(path for path in PACKAGE.rglob("*.py") if declared(path) is not None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_all_is_defined(path: Path) -> None:
    names = declared(path) or []
    assert len(set(names)) == len(names)
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    module = importlib.import_module(dotted)
    assert [name for name in names if not hasattr(module, name)] == []


def test_every_public_name_is_documented() -> None:
    assert set(gd.__all__) <= set(dir(gd))
    for name in set(gd.__all__) - {"__version__"}:
        assert getattr(gd, name).__doc__, name


def classes_of(room: str) -> list[type]:
    """The public classes that the modules of a room define."""
    found: list[type] = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = importlib.import_module(dotted.removesuffix(".__init__"))
        mine = [each for each in vars(module).values() if getattr(each, "__module__", "") == dotted]
        found += [each for each in mine if isinstance(each, type) and each.__name__[0] != "_"]
    return found


def test_every_error_can_be_caught_by_a_public_name() -> None:
    errors = [each for each in classes_of("core") if issubclass(each, gd.GhostDeployError)]
    assert len(errors) >= 20
    assert [each.__name__ for each in errors if getattr(gd, each.__name__, None) is not each] == []


def test_every_report_is_a_public_name() -> None:
    classes = classes_of("core/evidence") + classes_of("api") + classes_of("report")
    reports = [each for each in classes if each.__name__.endswith("Report")]
    assert len(reports) >= 9
    missing = [each.__name__ for each in reports if getattr(gd, each.__name__, None) is not each]
    assert missing == []


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        _ = gd.fly


@pytest.mark.parametrize(
    "first", ["", "import ghost_deploy.export.plan", "from ghost_deploy.export import plan"]
)
def test_export_stays_the_function(first: str) -> None:
    """The sub-package of that name does not take its place, whatever is imported first."""
    code = (
        f"{first}\n"
        "import ghost_deploy as gd\n"
        "before = gd.export\n"
        "import ghost_deploy.export.plan\n"
        "from ghost_deploy import export\n"
        "from ghost_deploy.export.targets import TARGETS\n"
        "assert before is gd.export is export, gd.export\n"
        "assert gd.export.__name__ == 'export' and callable(gd.export)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_verbs_are_functions() -> None:
    assert all(isinstance(getattr(gd, name), FunctionType) for name in ("export", "inspect"))
    assert all(isinstance(getattr(gd, name), FunctionType) for name in ("load", "parity"))


def test_openvino_is_imported_without_its_telemetry() -> None:
    """It would fork a process and send an event to an analytics service."""
    pytest.importorskip("openvino")
    code = (
        "import sys\n"
        "def watch(event, args):\n"
        "    assert not event.startswith(('socket.', 'urllib.', 'os.fork')), event\n"
        "sys.addaudithook(watch)\n"
        "import ghost_deploy, openvino, time\n"
        "time.sleep(0.2)\n"
        "assert 'openvino_telemetry.main' not in sys.modules\n"
        "assert openvino.Core().available_devices\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
