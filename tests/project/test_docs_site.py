"""The pages that are built from the package, and the whole site."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ghost_deploy
from ghost_deploy.cli.main import COMMANDS, EXIT_CODES, build_parser
from tools import docs_hooks

ROOT = Path(__file__).resolve().parents[2]
PAGES = docs_hooks.command_pages()
COMMAND_PARSERS: dict[str, argparse.ArgumentParser] = next(
    action.choices  # type: ignore[misc]
    for action in build_parser(COMMANDS)._actions
    if isinstance(action, argparse._SubParsersAction)
)


def test_each_command_has_a_page_and_a_row() -> None:
    assert set(PAGES) == {f"reference/cli/{name}.md" for name in ("index", *COMMANDS)}
    index = PAGES["reference/cli/index.md"]
    assert all(f"[`{name}`]({name}.md)" in index for name in COMMANDS)
    codes = EXIT_CODES.partition("\n\nResults")[0].removeprefix("exit codes:\n").splitlines()
    assert len(codes) == 6
    assert all(line.strip() in index for line in codes)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_argument_and_example_is_on_the_page(name: str) -> None:
    page, parser = PAGES[f"reference/cli/{name}.md"], COMMAND_PARSERS[name]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    assert len(rows) == len(shown)
    for action in shown:
        for flag in action.option_strings or map(str, action.choices or [action.metavar]):
            assert any(re.search(rf"[`|]{re.escape(flag)}[` \\]", row) for row in rows), flag
    plain = re.sub(r"\\(.)", r"\1", page)
    for line in (parser.epilog or "").partition("\nexit codes:")[0].splitlines():
        assert line.strip() == "examples:" or all(word in plain for word in line.split())
    assert "%(" not in page


def test_text_becomes_markdown_without_a_change_of_its_meaning() -> None:
    assert docs_hooks.escaped("a_b*c <d> [e] `f_g|h` | i") == (r"a\_b\*c \<d\> \[e\] `f_g\|h` \| i")
    assert docs_hooks.escaped("") == ""


def test_each_public_name_is_on_one_page() -> None:
    text = "".join(docs_hooks.python_pages().values())
    found = re.findall(r"^::: (\S+)\.(\w+)$", text, re.MULTILINE)
    names = [name for _, name in found]
    assert sorted(names) == sorted(set(ghost_deploy.__all__) - {"__version__"})
    for module, name in found:
        assert importlib.util.find_spec(module), name


def test_names_of_documents_become_links() -> None:
    text = (
        "See `docs/int8.md`, docs/zoo.md, `docs/none.md` and `SECURITY.md`.\n    `docs/int8.md`\n"
    )
    assert docs_hooks.with_links(text, "howto/nuc.md") == (
        "See [int8](../int8.md), [zoo](../zoo.md), `docs/none.md` and "
        "[Security](../security.md).\n    `docs/int8.md`\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs)"
)
def test_the_site_builds_strictly_and_asks_no_other_server(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": path}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    loads = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\">]*")
    assert [hit for page in pages for hit in loads.findall(page.read_text())] == []
    styles = "".join(path.read_text() for path in tmp_path.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)
