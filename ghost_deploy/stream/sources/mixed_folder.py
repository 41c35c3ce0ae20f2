"""Folders and patterns, which may hold images and videos both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ghost_deploy.processing.images import IMAGE_SUFFIXES, natural_order
from ghost_deploy.processing.video_kind import files_of, is_video_among_images
from ghost_deploy.stream.sources.source_table import SourceAddress

_PATTERN = frozenset("*?[")


def expand(word: str, note: Callable[[str], None]) -> Iterator[SourceAddress]:
    """The images of a folder or pattern as one source, and a source for each of its videos.

    Args:
        word: a folder, or a pattern.
        note: is told of files that are neither.
    """
    videos, others, images = [], Counter[str](), 0
    for path in files_of(word):
        if is_video_among_images(path):
            videos.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images += 1
        else:
            others[path.suffix.lower() or path.name] += 1
    if images or not videos:
        yield SourceAddress("images", word, word)
    for path in sorted(videos, key=natural_order):
        yield SourceAddress("video", str(path), str(path))
    if others and (images or videos):
        listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        more = f" and {len(others) - 5} other kinds" if len(others) > 5 else ""
        note(f"{word}: neither images nor videos, left out: {listed}{more}")


def is_pattern(word: str) -> bool:
    """Whether the word is a pattern of file names."""
    return not _PATTERN.isdisjoint(word)
