"""Links and paths in all documents lead to something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, ROOT, anchors, without_code
from tools import docs_hooks

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\s]+)`")
FOLDERS = tuple(
    f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "_."
)
MADE = {f"docs/{page}" for page in (*docs_hooks.command_pages(), *docs_hooks.python_pages())}
MADE |= {f"docs/{page}" for page in docs_hooks.OF_THE_ROOT.values()}
WRITTEN = ("out/", "dist/", "site/", "shared/")
"""What commands write, and development assets."""


def dead_links(path: Path, text: str) -> Iterator[str]:
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if file.is_relative_to(ROOT) and str(file.relative_to(ROOT)) in MADE:
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            yield target


def dead_paths(text: str) -> Iterator[str]:
    """Paths of the repository in code, as `docs/int8.md`, that are not there."""
    for word in CODE.findall(text):
        is_path = word.startswith(FOLDERS) and not word.startswith(WRITTEN)
        if is_path and re.fullmatch(r"[\w./*-]+", word) and not any(ROOT.glob(word.rstrip("/"))):
            yield word


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(path: Path) -> None:
    text = without_code(path.read_text())
    assert list(dead_links(path, text)) == []
    if path.name != "CHANGELOG.md":  # it tells of what was
        assert list(dead_paths(text)) == []


def test_the_check_sees_dead_links(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One\n## Two words, here\n")
    here = tmp_path / "here.md"
    here.write_text("# Own\n")
    good = "[a](there.md) [b](there.md#two-words-here) [c](#own) [d](https://x.org/nothing)"
    bad = ["none.md", "there.md#three", "#other"]
    text = good + "".join(f"[x]({target})" for target in bad)
    assert list(dead_links(here, text)) == bad
    assert list(dead_paths("`docs/none.md` `docs/int8.md` `out/x` `docs/*.md` `tools/`")) == [
        "docs/none.md"
    ]


def test_the_readme_links_its_documents() -> None:
    linked = set(LINK.findall(without_code((ROOT / "README.md").read_text())))
    assert len({target for target in linked if target.startswith("docs/")}) >= 10
    assert "SECURITY.md" in linked
