"""Turn the words of a command line into sources."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.sources.mixed_folder import expand, is_pattern
from ghost_deploy.stream.sources.source_labels import camera_label, exists, scheme_of
from ghost_deploy.stream.sources.source_table import SOURCES, SourceAddress

_LIST_SUFFIXES = frozenset({".streams", ".txt"})
_MOST_BYTES = 64 << 20  # of a list
_FORMS = ", ".join(kind.form for kind in reversed(SOURCES.values())) + " or @list.txt"


def parse_sources(
    words: Iterable[str], note: Callable[[str], None] = lambda _: None
) -> list[SourceAddress]:
    """What each word means, in order; a list file stands for the sources in it.

    A folder or pattern stands for its images, which are one source, and each of its videos.

    Args:
        words: of the command line.
        note: is told which files of a folder are left out.

    Raises:
        UsageError: there is no such source, or a list that is empty or cannot be read.
    """
    sources = [source for word in words for source in _expanded(word, note)]
    if sum(SOURCES[source.kind].is_stdin for source in sources) > 1:
        raise UsageError(
            "standard input is named as a source more than once",
            fix="Name it once: two readers would split its images",
        )
    return sources


def parse_source(word: str) -> SourceAddress:
    """What one word means; an existing file takes precedence over any other meaning.

    Raises:
        UsageError: it has no valid form, or is a video file that does not exist.
    """
    if not word.strip():
        raise UsageError("a source is empty", expected=_FORMS, fix="Name a source")
    is_file = exists(word) and not (camera_label(word) and word.startswith("/dev/"))
    for kind in SOURCES.values():
        if not is_file or kind.is_file:
            label = kind.label(word)
            if label is not None:
                return SourceAddress(kind.name, word, label)
    raise UsageError(
        f"a {scheme_of(word)}:// address cannot be a source",
        expected=_FORMS,
        fix="Give one of those, or a GStreamer pipeline that reads the address",
    )


def _expanded(word: str, note: Callable[[str], None]) -> Iterator[SourceAddress]:
    path = Path(word[1:] if word.startswith("@") and not exists(word) else word)
    is_list = path != Path(word) or (path.suffix.lower() in _LIST_SUFFIXES and os.path.isfile(path))
    if not is_list:
        yield from _sources_of(word, note)
        return
    entries = _entries(path)
    if not entries:
        raise UsageError(
            f"the list {path} names no source",
            expected="one source a line; # starts a comment",
            fix="Add one",
        )
    for entry in entries:
        if entry.startswith("@"):
            raise UsageError(f"the list {path} names another list", fix="Put its lines there")
        yield from _sources_of(entry, note)


def _sources_of(word: str, note: Callable[[str], None]) -> Iterator[SourceAddress]:
    source = parse_source(word)
    may_be_many = os.path.isdir(word) or (is_pattern(word) and not exists(word))
    if source.kind == "images" and may_be_many:
        yield from expand(word, note)
    else:
        yield source


def _entries(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:  # also of a pipe
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    if len(data) > _MOST_BYTES:
        raise _unusable(path, f"more than {_MOST_BYTES >> 20} MiB")
    # A name of a file may be of any bytes; in UTF-16 each letter has a NUL beside it.
    if b"\0" in data or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _unusable(path, "not UTF-8 text")
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    # Not splitlines(): names may hold U+2028 and others that it takes for the end of a line.
    entries = map(_without_comment, re.split(r"\r\n|\n|\r", text))
    return [entry for entry in entries if entry]


def _unusable(path: Path, got: str | None) -> UsageError:
    return UsageError(
        f"cannot read the list of sources {path}",
        got=got,
        fix="Check the path; a list is a text file with one source a line",
    )


def _without_comment(line: str) -> str:
    """The source of a line: `#` begins a comment at its start or after a blank."""
    line = line.strip()
    cut = [line[: found.start()] for found in re.finditer(r"(?:^|\s+)#", line)]
    # A name of a file may hold ` #`.
    return next(filter(exists, [line, *reversed(cut)]), (cut or [line])[0])
