"""The command line for a board: what was typed here, with the places that files have there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ghost_deploy.cli.board_options import BOARD_OPTIONS, flag_of, given_options, refuse
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.remote.job import BoardJob, SentBundle, SentFiles, Word

_ALWAYS_REFUSED = "refused: it is not known what it means on a board"


def job_of(
    args: argparse.Namespace, parser: argparse.ArgumentParser, words: Sequence[str], scratch: Path
) -> BoardJob:
    """What a command line means for a board.

    Args:
        args: as the command here would get them.
        parser: of the command; its types are taken away.
        words: behind the name of the command.
        scratch: folder for files that are made to be sent.

    Raises:
        UsageError: an option that boards do not take.
        BundleError, InputError, ImageError: what was named here cannot be used.
    """
    table = BOARD_OPTIONS[args.command]
    found: list[Word | tuple[str, Word]] = []
    behind: list[Word | tuple[str, Word]] = []
    for action, values in given_options(parser, list(words)):
        handling = table.get(action.dest, _ALWAYS_REFUSED)
        refuse(action, handling)
        if handling == "here":
            continue
        placed = [word for value in _values(handling, values, args, scratch) for word in [value]]
        if not action.option_strings:
            behind += placed
        elif action.nargs == 0:
            found.append(flag_of(action, getattr(args, action.dest)))
        elif action.nargs in ("+", "*"):
            found += [flag_of(action), *placed]
        else:
            found += [(flag_of(action), word) for word in placed]
    names = [bundle.path.absolute().name for bundle in _bundles(found + behind)]
    if len(set(names)) < len(names):
        raise UsageError(
            "two bundles have one name, and reports of boards could not tell them apart",
            got=", ".join(names),
            fix="Rename the folder of one",
        )
    runtimes = getattr(args, "runtimes", None) or (
        [args.runtime] if getattr(args, "runtime", "auto") != "auto" else None
    )
    wheels = Path(args.wheels) if args.wheels else None
    return BoardJob(args.command, [*found, "--", *behind], runtimes, wheels)


def _bundles(words: Sequence[Word | tuple[str, Word]]) -> list[Bundle]:
    values = [word[1] if isinstance(word, tuple) else word for word in words]
    return [value.bundle for value in values if isinstance(value, SentBundle)]


def _values(
    handling: str, values: Sequence[str], args: argparse.Namespace, scratch: Path
) -> list[Word]:
    """The values of an option as the board gets them."""
    if handling == "passed":
        return list(values)
    several: dict[str, Callable[[], list[Word]]] = {
        "bundle": lambda: [_bundle(value) for value in values],
        "file": lambda: [_file(value) for value in values],
        "images": lambda: [_images(values)],
    }
    return several[handling]()


def _bundle(value: str) -> SentBundle:
    from ghost_deploy.api.common import is_bundle

    if not is_bundle(Path(value)):
        raise UsageError(
            f"{value} is no bundle, and only bundles go to boards",
            fix="Make one with: ghost-deploy export CHECKPOINT -o BUNDLE",
        )
    return SentBundle(Bundle.read(value))


def _file(value: str) -> SentFiles:
    path = Path(value)
    if not path.is_file():
        raise InputError(f"there is no file {value}", fix="Check the path")
    return SentFiles({path.name: path}, path.name)


def _images(values: Sequence[str]) -> SentFiles:
    """Images by names that stay apart: those of one folder keep theirs."""
    from ghost_deploy.stream.sources.image_files import find_images

    paths = find_images(list(values))
    files: dict[str, Path] = {}
    for index, path in enumerate(paths):
        name = path.name if path.name not in files else f"{index}/{path.name}"
        files[name] = path
    return SentFiles(files)
