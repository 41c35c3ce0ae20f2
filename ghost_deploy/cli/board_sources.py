"""Images and videos here that go to a board, and the outputs that come back."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from ghost_deploy.cli.returned_files import outputs_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import write_whole
from ghost_deploy.remote.answers import wrong_answer
from ghost_deploy.remote.job import SentFiles

OUTPUTS = {"out": "out", "save_uncertain": "uncertain", "jsonl": "lines.jsonl"}
"""By where the option of `infer` is stored: the name of the output below the board's folder."""


def sent_images(values: Sequence[str]) -> list[SentFiles]:
    """The images that files, folders and patterns name: for each folder that holds some, one.

    Raises:
        ImageError: a value names no image.
    """
    from ghost_deploy.processing.images import list_images

    found: list[SentFiles] = []
    for value in values:
        paths = list_images(value)
        if Path(value).is_file():
            found.append(SentFiles({paths[0].name: paths[0]}, paths[0].name))
            continue
        by_folder: dict[Path, dict[str, Path]] = {}
        for path in paths:
            by_folder.setdefault(path.parent, {})[path.name] = path
        found += [SentFiles(files) for files in by_folder.values()]
    return found


def sent_sources(values: Sequence[str]) -> list[SentFiles]:
    """The sources of `infer`, as far as they are files here.

    Raises:
        UsageError: a camera, an address or standard input.
        ImageError: a source names no image.
    """
    from ghost_deploy.stream.sources.source_table import SOURCES
    from ghost_deploy.stream.sources.uri import parse_sources

    found: list[SentFiles] = []
    for source in parse_sources(values):
        if source.kind == "images":
            found += sent_images([source.target])
        elif SOURCES[source.kind].is_file and Path(source.target).is_file():
            path = Path(source.target)
            found.append(SentFiles({path.name: path}, path.name))
        else:
            raise UsageError(
                "cameras and streams cannot be used with --on",
                got=source.label,
                fix="Name images, folders or videos; for a camera run ghost-deploy on the board",
            )
    return found


def require_free(args: Any, boards: Sequence[str], sources: Iterable[SentFiles]) -> None:
    """Raise before anything is sent if annotated images are there already.

    Raises:
        UsageError: they are, and `--overwrite` was not given.
    """
    if args.jsonl == "-" and args.json:
        raise UsageError(
            "--json and --jsonl - both take standard output", fix="Give --jsonl a file"
        )
    if not args.out or args.overwrite:
        return
    names = {Path(name).name for each in sources for name in each.files}
    for board in boards:
        folder = place_of(args.out, board, several=len(boards) > 1)
        there = sorted(name for name in names if (folder / name).exists())
        if there:
            raise _occupied(folder / there[0])


def place_of(given: str, board: str, *, several: bool) -> Path:
    """Where an output of a board goes: of several each has its own."""
    path = Path(given)
    if not several:
        return path
    own = board.replace(":", "-").replace("/", "-")
    return path.with_name(f"{path.stem}.{own}{path.suffix}") if path.suffix else path / own


def put_results(
    args: Any,
    results: Path,
    board: str,
    places: Mapping[str, str],
    output: IO[str],
    *,
    several: bool,
) -> list[tuple[str, Path]]:
    """Put what came back from a board where it was asked for.

    Args:
        args: of the command.
        results: the folder that came back.
        board: its name.
        places: files here by their names there, which results name.
        output: standard output, for `--jsonl -`.
        several: there are other boards too.

    Returns:
        What was put where.

    Raises:
        UsageError: a file is there, and `--overwrite` was not given; nothing was changed.
        BoardError: something else came back than outputs of these files; nothing was changed.
    """
    done = []
    sent = [Path(each) for each in places.values()]
    copied = {
        name: outputs_of(results / name, sent, saved=saved)
        for name, saved in (("out", bool(getattr(args, "save", None))), ("uncertain", True))
    }
    lines = _lines(results / OUTPUTS["jsonl"], places, board) if args.jsonl else b""
    for option, name in OUTPUTS.items():
        given = getattr(args, option)
        back = results / name
        if not given or not back.exists():
            continue
        target = place_of(given, board, several=several)
        if option == "jsonl" and given == "-":
            output.write(lines.decode())
            continue
        if option == "jsonl":
            _append_lines(target, lines)
        else:
            replaces = args.overwrite or option == "save_uncertain"
            _copy_all(back, copied[name], target, sent, overwrite=replaces)
        done.append((option, target))
    return done


def here(name: str, places: Mapping[str, str]) -> str:
    """The file here of a file there."""
    if name in places:
        return places[name]
    for there, local in places.items():
        if name.startswith(there + "/"):
            return local + name[len(there) :]
    return name


def _lines(back: Path, places: Mapping[str, str], board: str) -> bytes:
    """The lines that came back, with the files here in the place of their copies."""
    if not back.exists():
        return b""
    lines = []
    for line in back.read_bytes().splitlines():
        try:
            record = msgspec.json.decode(line, type=dict[str, Any])
            source = record.get("source", "")
            if not isinstance(source, str):
                raise ValueError("source is no text")
        except (ValueError, RecursionError) as error:
            raise wrong_answer(board, "a line of results", line[:200]) from error
        record["source"] = here(source, places)
        lines.append(msgspec.json.encode(record) + b"\n")
    return b"".join(lines)


def _append_lines(target: Path, lines: bytes) -> None:
    old = target.read_bytes() if target.exists() else b""
    old += b"\n" if old and not old.endswith(b"\n") else b""
    write_whole(target, lambda file: file.write(old + lines))


def _copy_all(
    back: Path, names: Sequence[str], target: Path, sent: Sequence[Path], *, overwrite: bool
) -> None:
    own = {path.resolve() for path in sent}
    for name in names:
        place = target / name
        if os.path.lexists(place) and (not overwrite or place.resolve() in own):
            raise _occupied(place)
    for name in names:
        with (back / name).open("rb") as source:
            write_whole(target / name, functools.partial(shutil.copyfileobj, source))


def _occupied(path: Path) -> UsageError:
    return UsageError(
        f"{path} exists already", fix="Add --overwrite, or name another folder with -o"
    )
