"""The table of words in docs/architecture.md, applied to all that a user or reader sees."""

from __future__ import annotations

import argparse
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ghost_deploy"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"),
     *(ROOT / "tools").rglob("*.md")]
)  # fmt: skip
TESTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "tests").rglob("*.md")])
TEMPLATES = sorted(
    path for kind in ("j2", "html", "js", "md") for path in PACKAGE.rglob(f"*.{kind}")
)

ALLOWED = {
    # The JSON key in stored bundles.
    "ghost_deploy/core/evidence/reference.py: pictures",
    "tests/judge/parity/test_self_check.py: pictures",
    "tests/runtimes/tensorrt/test_on_device.py: pictures",
}
"""Exceptions, as `file: word`; each with its reason."""


def unwanted_words() -> list[str]:
    """The left column of the table, one word or phrase each."""
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Words")[2]
    rows = re.findall(r"^\| (?!not )([^|-][^|]*) \|", text, re.MULTILINE)
    return [word.strip() for row in rows for word in row.split(",")]


def pattern(words: list[str]) -> re.Pattern[str]:
    """Matches the words with the usual endings, also within snake_case names."""
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![a-z])(?:{listed})(?:s|es|d|ed|r|rs|ing|ation)?(?![a-z])", re.I)


UNWANTED = pattern(unwanted_words())


def texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings, messages, comments and names of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kinds = (tokenize.STRING, tokenize.COMMENT, tokenize.NAME)
        if token.type in kinds or tokenize.tok_name[token.type].startswith("FSTRING"):
            yield token.start[0], token.string


def faults(path: Path) -> list[str]:
    """`file:line: word` of each unwanted word."""
    source = path.read_text()
    name = path.relative_to(ROOT)
    if path.suffix == ".py":
        found = list(texts(source))
    else:
        if name.name == "architecture.md":
            source = source.partition("## Words")[0]
        found = list(enumerate(source.splitlines(), 1))
    return [
        f"{name}:{line + text[: match.start()].count(chr(10))}: {match[0]}"
        for line, text in found
        for match in UNWANTED.finditer(text)
        if f"{name}: {match[0]}" not in ALLOWED
    ]


def test_the_table_is_read() -> None:
    assert {"artefact", "picture", "how manyth"} <= set(unwanted_words())


@pytest.mark.parametrize(
    "text",
    ["an artefact", "these pictures", "list_pictures", "QUANTISED", "is the measure of", "mended"],
)
def test_the_check_sees_an_unwanted_word(text: str) -> None:
    assert UNWANTED.search(text)


@pytest.mark.parametrize("text", ["the railroad", "a recommendation", "image", "broadcast"])
def test_the_check_leaves_other_words(text: str) -> None:
    assert not UNWANTED.search(text)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_code(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize("room", sorted({path.parent for path in TESTS}), ids=lambda p: p.name)
def test_tests(room: Path) -> None:
    """Tests are read as examples; only this module names the unwanted words."""
    files = [path for path in TESTS if path.parent == room and path != Path(__file__)]
    assert [fault for path in files for fault in faults(path)] == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *TEMPLATES], ids=lambda p: p.name)
def test_documents(path: Path) -> None:
    assert faults(path) == []


def rendered_help(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The help of a parser and of its commands, each on one line: texts are wrapped there."""
    yield " ".join(parser.format_help().split())
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from rendered_help(command)


def test_help_of_all_commands() -> None:
    """Help is assembled at run time, from tables among others."""
    from ghost_deploy.cli.main import COMMANDS, build_parser

    texts = list(rendered_help(build_parser(COMMANDS)))
    assert len(texts) == 1 + len(COMMANDS)
    assert [match[0] for text in texts for match in UNWANTED.finditer(text)] == []
