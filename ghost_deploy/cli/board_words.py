"""The command line for a board: what was typed here, with the places that files have there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ghost_deploy.cli.board_options import BOARD_OPTIONS, flag_of, given_options, refuse
from ghost_deploy.cli.board_sources import OUTPUTS, sent_images, sent_sources
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.trusted_signers import trusted_signers
from ghost_deploy.remote.job import BoardJob, Returned, SentBundle, SentFiles, Word

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
        BundleError, InputError, ImageError: what was named here cannot be used, or a bundle has
            nothing to run of what was named.
    """
    table = BOARD_OPTIONS[args.command]
    found: list[Word | tuple[str, Word]] = []
    behind: list[Word | tuple[str, Word]] = []
    given = given_options(parser, list(words))
    for action, _ in given:
        refuse(action, table.get(action.dest, _ALWAYS_REFUSED))
    for action, values in given:
        handling = table[action.dest]
        if handling == "here":
            continue
        if handling == "data":
            found += _data(args, scratch)
            continue
        placed = _values(handling, values, action.dest)
        if not action.option_strings:
            behind += placed
        elif action.nargs == 0:
            found.append(flag_of(action, getattr(args, action.dest)))
        elif action.nargs in ("+", "*"):
            found += [flag_of(action), *placed]
        else:
            found += [(flag_of(action), word) for word in placed]
    signers = trusted_signers()
    if signers is not None and not args.trust:  # asked for by this machine's environment
        found.append(("--trust", _file(str(signers))))
    _refuse_one_name(found + behind)
    words_there = [*found, "--", *behind]
    job = BoardJob(
        args.command, words_there, _runtimes(args), _wheels(args), _extras(args.command, behind)
    )
    _require_runs(args, job)
    return job


def _require_runs(args: argparse.Namespace, job: BoardJob) -> None:
    """Raise, before a board is asked, if a bundle has nothing of what was named."""
    from ghost_deploy.judge.check.checked_runs import checked_runs
    from ghost_deploy.runtimes.run_plan import require_runs

    if job.command == "build":  # it makes what TensorRT runs
        return
    one = getattr(args, "precision", None)
    precisions = getattr(args, "precisions", None) or (None if one in (None, "fastest") else [one])
    runtimes = [name for name in job.runtimes or () if name != "auto"] or None
    for bundle in job.bundles:
        find = checked_runs if job.command == "check" else require_runs
        find(bundle, runtimes, precisions)


def _extras(command: str, sources: Sequence[Word | tuple[str, Word]]) -> tuple[str, ...]:
    """What a command needs besides a backend: to judge, or to read videos."""
    from ghost_deploy.processing.images import IMAGE_SUFFIXES

    if command == "validate":
        return ("validate",)
    names = [word.target for word in sources if isinstance(word, SentFiles) and word.target]
    videos = [name for name in names if Path(name).suffix.lower() not in IMAGE_SUFFIXES]
    return ("stream",) if videos else ()


def _refuse_one_name(words: Sequence[Word | tuple[str, Word]]) -> None:
    values = [word[1] if isinstance(word, tuple) else word for word in words]
    names = [v.bundle.path.absolute().name for v in values if isinstance(v, SentBundle)]
    if len(set(names)) < len(names):
        raise UsageError(
            "two bundles have one name, and reports of boards could not tell them apart",
            got=", ".join(names),
            fix="Rename the folder of one",
        )


def _runtimes(args: argparse.Namespace) -> Sequence[str] | None:
    """The runtimes that the user named."""
    if args.command == "build":
        return ["trt"]
    one = getattr(args, "runtime", "auto")
    return getattr(args, "runtimes", None) or (None if one == "auto" else [one])


def _wheels(args: argparse.Namespace) -> Path | None:
    return Path(args.wheels) if args.wheels else None


def _values(handling: str, values: Sequence[str], stored: str) -> Sequence[Word]:
    """The values of an option as the board gets them."""
    kinds: dict[str, Callable[[], Sequence[Word]]] = {
        "passed": lambda: list(values),
        "bundle": lambda: [_bundle(value) for value in values],
        "file": lambda: [_file(value) for value in values],
        "images": lambda: [_images(values)],
        "sources": lambda: sent_sources(values),
        "output": lambda: [Returned(OUTPUTS[stored])],
    }
    return kinds[handling]()


def _data(args: argparse.Namespace, scratch: Path) -> list[Word | tuple[str, Word]]:
    """The data set: read here, so that what is wrong with it is said before anything is sent."""
    from ghost_deploy.cli.board_data import data_for_board
    from ghost_deploy.judge.datasets.open_dataset import open_dataset

    dataset = open_dataset(
        args.data, split=args.split, images=args.images, skip_broken=args.skip_broken_labels
    )
    file = Path(args.data)
    sent, images = data_for_board(file / "data.yaml" if file.is_dir() else file, dataset, scratch)
    found: list[Word | tuple[str, Word]] = [("--data", sent)]
    if images:
        found.append(("--images", SentFiles(sent.files, images, sent.origin)))
    return found


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
    """Images of one option, which names one folder there."""
    files: dict[str, Path] = {}
    for each in sent_images(values):
        for path in each.files.values():
            name = path.name
            if name in files:
                name = f"{path.stem}-{len(files)}{path.suffix}"
            files[name] = path
    return SentFiles(files, name=Path(values[0]).name if len(values) == 1 else "files")
