"""The images and videos that the inputs of a run name."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ghost_deploy.batch.file_access import (
    FileAccess,
    is_http,
    is_remote,
    local_path,
    root_of,
    shown,
    without_query,
)
from ghost_deploy.batch.path_lists import listed_paths, not_read, paths_of_parquet
from ghost_deploy.batch.result_rows import key_text
from ghost_deploy.batch.store_answers import store_errors
from ghost_deploy.batch.store_paths import address_in_store
from ghost_deploy.batch.work_tasks import ArchiveFile
from ghost_deploy.core.errors import UsageError
from ghost_deploy.processing.images import IMAGE_SUFFIXES
from ghost_deploy.processing.video_kind import VIDEO_SUFFIXES, is_video
from ghost_deploy.stream.sources.source_labels import scheme_of

_PARQUET = (".parquet", ".pq")
_LISTS = (".txt", ".lst")
_WILD = re.compile(r"[*?\[]")
_CHUNK = 100_000


@dataclass
class FoundSources:
    """What the inputs name, each once, in the order of the inputs.

    Attributes:
        images: a `pyarrow.ChunkedArray` of texts of the column `source`.
        videos: the videos.
        duplicates: how many times something was named again.
        odd: the paths that are not their text, by it.
    """

    images: Any
    videos: list[ArchiveFile]
    duplicates: int = 0
    odd: dict[str, str] = field(default_factory=dict)

    def named(self) -> Any:
        """A `pyarrow.Array` of the sources, images and videos."""
        import pyarrow as pa

        videos = pa.array([file.source for file in self.videos], pa.large_string())
        return pa.chunked_array([*self.images.chunks, videos], pa.large_string()).combine_chunks()

    def files(self, sources: Sequence[str]) -> tuple[ArchiveFile, ...]:
        """The files of some sources."""
        return tuple(ArchiveFile(source, self.odd.get(source, "")) for source in sources)


def find_sources(
    words: Sequence[str], access: FileAccess, column: str | None, note: Callable[[str], None]
) -> FoundSources:
    """The images and videos of some inputs; none is opened but files that are named themselves.

    Args:
        words: files, folders with all below them, patterns, lists of paths (`.txt`, `@list`),
            Parquet files with a column of paths; on this machine or addresses of a store.
        access: opens stores.
        column: with the paths, of Parquet files; by default the first that has a usual name.
        note: is told of what is left out.

    Raises:
        UsageError: an input does not exist or names nothing.
        StoreError: a store refuses or does not answer.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    odd: dict[str, str] = {}
    videos: dict[str, ArchiveFile] = {}
    chunks, chunk, named = [], [], 0
    for path in _all_paths(words, access, column, note):
        text = key_text(shown(path) if is_remote(path) else path)
        if text != path:
            odd[text] = path
        named += 1
        if _looks_like_video(path):
            videos.setdefault(text, ArchiveFile(text, odd.get(text, "")))
            continue
        chunk.append(text)
        if len(chunk) >= _CHUNK:
            chunks.append(pa.array(chunk, pa.large_string()))
            chunk = []
    chunks.append(pa.array(chunk, pa.large_string()))
    images = pa.chunked_array([pc.unique(pa.chunked_array(chunks))])
    found = FoundSources(images, list(videos.values()), odd=odd)
    found.duplicates = named - len(images) - len(videos)
    return found


def _all_paths(
    words: Sequence[str], access: FileAccess, column: str | None, note: Callable[[str], None]
) -> Iterator[str]:
    if not words:
        raise UsageError("no input is named", fix="Give folders, files, patterns or lists")
    for word in words:
        count = 0
        for path in _paths_of(word, access, column, note):
            count += 1
            yield path
        if not count:
            raise UsageError(
                f"{shown(word)} names no image and no video",
                expected=f"files named {' '.join(IMAGE_SUFFIXES)}, or as videos are",
                fix="Check the path; quote a pattern so that the shell does not change it",
            )


def _paths_of(
    word: str, access: FileAccess, column: str | None, note: Callable[[str], None]
) -> Iterator[str]:
    listed = word.startswith("@") and not os.path.lexists(word)
    name = word[1:] if listed else word
    plain = without_query(name).lower()
    if listed or plain.endswith(_LISTS):
        yield from listed_paths(name, access)
    elif plain.endswith(_PARQUET):
        for file in _matching(name, access, note):
            yield from paths_of_parquet(file, access, column, note)
    elif is_remote(name):
        yield from _in_store(name, access, note)
    else:
        yield from _on_this_machine(name, note)


def _on_this_machine(name: str, note: Callable[[str], None]) -> Iterator[str]:
    path = local_path(name)
    if os.path.isdir(path):
        yield from filter(_is_named_as_source, _walk(path, note))
    elif os.path.lexists(path):
        yield path
    elif _WILD.search(name):
        for each in _globbed(name, note):
            if os.path.isfile(each) and _is_named_as_source(each):
                yield each
    else:
        raise UsageError(f"there is no input {name}", fix="Check the path")


def _globbed(pattern: str, note: Callable[[str], None]) -> Iterable[str]:
    """What a pattern matches; the working folder is no part of the pattern."""
    plain = local_path(pattern) if scheme_of(pattern) else pattern
    parts = plain.split("/")
    if "**" in parts:
        wild = next(k for k, part in enumerate(parts) if _WILD.search(part))
        start = local_path("/".join(parts[:wild]) or ("/" if plain.startswith("/") else "."))
        matches = re.compile(_pattern("/".join(parts[wild:]))).fullmatch
        # `glob` would follow links, and go round in those that lead back.
        return (each for each in _walk(start, note) if matches(os.path.relpath(each, start)))
    here = "" if os.path.isabs(plain) else glob.escape(os.getcwd())
    return sorted(map(local_path, glob.glob(os.path.join(here, plain), recursive=True)))


def _walk(folder: str, note: Callable[[str], None]) -> Iterator[str]:
    """The files below a folder, in the order of their names; hidden ones are left out."""

    def tell(error: OSError) -> None:
        note(f"{key_text(str(error.filename))} cannot be listed and is left out: {error.strerror}")

    hidden = linked = 0
    for here, folders, names in os.walk(folder, onerror=tell):
        hidden += sum(each.startswith(".") for each in (*folders, *names))
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        linked += sum(os.path.islink(os.path.join(here, each)) for each in folders)
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(here, name)
    for count, one, more in (
        (hidden, "hidden file or folder", "hidden files and folders"),
        (linked, "link to a folder", "links to folders"),
    ):
        if count:
            what = f"1 {one} is" if count == 1 else f"{count} {more} are"
            note(f"{key_text(folder)}: {what} left out")


def _in_store(word: str, access: FileAccess, note: Callable[[str], None]) -> Iterator[str]:
    from pyarrow import fs

    if is_http(word):
        yield word
        return
    try:
        if _WILD.search(shown(word)):
            yield from filter(_is_named_as_source, _matching(word, access, note))
            return
        system, path = access.locate(word)
        with store_errors(shown(word)):
            is_file = system.get_file_info(path).type == fs.FileType.File
        if is_file:
            yield shown(word)
            return
        below = _below(word, access, path, note)
        yield from filter(_is_named_as_source, below)
    except FileNotFoundError as error:
        raise UsageError(f"there is no input {shown(word)}", fix="Check the address") from error
    except OSError as error:
        raise not_read(word, error) from error


def _below(word: str, access: FileAccess, path: str, note: Callable[[str], None]) -> Iterator[str]:
    """The addresses of the objects below a path in the store of `word`, by their names."""
    from pyarrow import fs

    system = access.locate(word)[0]
    root = root_of(word)
    with store_errors(shown(word)):
        infos = system.get_file_info(fs.FileSelector(path, recursive=True))
    hidden = 0
    for each in sorted(info.path for info in infos if info.type == fs.FileType.File):
        if "/." not in each.removeprefix(path.rstrip("/")):
            yield address_in_store(root, each)
        else:
            hidden += 1
    if hidden:
        what = "1 hidden object is" if hidden == 1 else f"{hidden} hidden objects are"
        note(f"{shown(word)}: {what} left out")


def _matching(word: str, access: FileAccess, note: Callable[[str], None]) -> Iterator[str]:
    """The files that a pattern matches, or `word` itself where it is none."""
    if is_http(word):
        yield word
        return
    address = shown(word) if is_remote(word) else local_path(word)
    wild = _WILD.search(address)
    if wild is None or (not is_remote(word) and os.path.lexists(address)):
        yield address
        return
    if not is_remote(word):
        yield from filter(os.path.isfile, _globbed(word, note))
        return
    start = address[: wild.start()].rpartition("/")[0]
    path = access.locate(start)[1]
    matches = re.compile(_pattern(address)).fullmatch
    try:
        yield from filter(matches, _below(start, access, path, note))
    except OSError as error:
        raise not_read(word, error) from error


def _pattern(address: str) -> str:
    """A regular expression for a pattern in which `*` does not cross folders and `**` does."""
    parts = []
    named = address.split("/")
    for part in (*named, "*") if named[-1] == "**" else named:
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            text = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
            parts.append(text.removesuffix(r")\z").replace(".*", "[^/]*") + "/")
    return "".join(parts).removesuffix("/")


def _is_named_as_source(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    return suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES


def _looks_like_video(path: str) -> bool:
    suffix = os.path.splitext(without_query(path))[1].lower()
    if suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES or is_remote(path):
        return suffix in VIDEO_SUFFIXES
    # Of a name that says nothing the content decides.
    return os.path.isfile(path) and is_video(path)
