"""The pages that are built from the package, and the whole site."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import ghost_deploy
from ghost_deploy.cli.main import COMMANDS, EXIT_CODES, build_parser
from tests.support.browser import needs_browser, opened, screen
from tests.support.waiting import wait_until
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
    assert len(codes) == 7
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built strictly."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": path}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_asks_no_other_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    loads = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\">]*")
    assert [hit for page in pages for hit in loads.findall(page.read_text())] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)


@pytest.mark.slow
@needs_browser
def test_every_page_fits_a_phone_in_light_and_dark(site: Path, tmp_path: Path) -> None:
    """Nothing is wider than the screen, the page has the colors asked for, and loads from here."""
    with served(site) as address, opened(tmp_path) as browser:
        for page in sorted(site.rglob("*.html")):
            for scheme, name in (("light", "default"), ("dark", "slate")):
                with screen(browser, 390, prefers_color_scheme=scheme):
                    browser.get(f"{address}/{page.relative_to(site)}")
                    browser.execute_script("localStorage.clear(); location.reload()")
                    wait_until(lambda: browser.execute_script(READY))
                    width, shown, hosts = browser.execute_script(LOOK)
                assert width <= 390, page
                assert shown == name, page
                assert set(hosts) <= {address.removeprefix("http://")}, page


READY = "return document.readyState == 'complete' && document.body != null"
LOOK = """
return [document.documentElement.scrollWidth, document.body.dataset.mdColorScheme,
        performance.getEntriesByType('resource').map(e => new URL(e.name).host)]
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the files in a folder."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""
