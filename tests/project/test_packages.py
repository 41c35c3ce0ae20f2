"""What is in the wheel and in the source archive."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).resolve().parents[2]
NOT_THERE = ("shared/", ".github/", ".venv", "out/", "site/", ".ci/")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_has_the_package_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.partition("/")[0] for name in names}
    assert roots == {"ghost_deploy", next(r for r in roots if r.endswith(".dist-info"))}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "ghost_deploy").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == here
    assert "ghost_deploy/py.typed" in names
    # What the program needs besides code: the embedded detector, the pages.
    other = {path.suffix for path in map(Path, names) if path.parts[0] == "ghost_deploy"}
    assert {".html", ".css", ".js", ".j2"} <= other
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 20 << 20


def test_the_source_archive_has_documents_tests_and_deploy(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "mkdocs.yml",
        "CITATION.cff",
        "deploy/Dockerfile.x86",
        "deploy/ghost-deploy.service",
        "docs/index.md",
        "docs/howto/jetson.md",
        "examples/ten_tasks.py",
        "tests/conftest.py",
        "tests/data/bundle-0.1/bundle.json",
        "tools/docs_hooks.py",
        "benchmarks/README.md",
    } <= names
    assert [name for name in names if name.startswith(NOT_THERE) or "__pycache__" in name] == []
    assert [n for n in names if n.endswith(".pt") and not n.startswith("ghost_deploy/")] == []
    documents = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert documents <= names
