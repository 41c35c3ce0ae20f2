"""The Markdown documents of the repository, their links, and the commands and code in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/*.md", "benchmarks/*.md", "tools/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^ *```(\w*)")
_HEADING = re.compile(r"^#{1,6} +(.*)$")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, code) of each block of code: fenced, or indented by four blanks."""
    language: str | None = None
    code: list[str] = []
    for line in [*text.splitlines(), ""]:
        fence = _FENCE.match(line)
        if fence and language is None and not code:
            language = fence[1]
        elif fence and language is not None:
            yield language, "\n".join(code)
            language, code = None, []
        elif language is not None:
            code.append(line)
        elif line.startswith("    ") or (code and not line.strip()):
            code.append(line[4:])
        elif code:
            yield "", "\n".join(code)
            code = []


def without_code(text: str) -> str:
    """The text of a document, its blocks of code left out."""
    kept, is_code = [], False
    for line in text.splitlines():
        is_fence = bool(_FENCE.match(line))
        is_code ^= is_fence
        if not (is_code or is_fence or line.startswith("    ")):
            kept.append(line)
    return "\n".join(kept)


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a document, as GitHub and mkdocs make them."""
    headings = (match[1] for line in text.splitlines() if (match := _HEADING.match(line)))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[- ]+", "-", heading) for heading in plain}


def commands(text: str, program: str = "ghost-deploy") -> Iterator[list[str]]:
    """The words behind the program of each line of code that calls it, without shell syntax."""
    for language, code in blocks(text):
        if language in {"", "console", "bash", "sh"}:
            for line in code.replace("\\\n", " ").splitlines():
                yield from _commands(line.strip().removeprefix("$ "), program)


def _commands(line: str, program: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a sentence with an apostrophe
        return
    part: list[str] = []
    for word in [*words, ";"]:
        if word in {"|", ";", "&&", ">", "&"}:
            if part and part[0].rpartition("/")[2] == program and part[1:]:
                yield part[1:]
            part = []
        else:
            part.append(word)
