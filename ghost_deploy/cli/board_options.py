"""What becomes of each option of a command that runs on a board (`--on`): one table.

passed    goes to the command there as it is
bundle    a bundle here: goes over, and the argument names the copy
file      a file here: goes over, and the argument names the copy
images    images here: a file, folder or pattern; they go over
sources   images and videos here; they go over. Cameras and addresses are refused
data      a data set here: its description, labels and images go over
output    an output: written there, and brought back
here      concerns this machine alone
refused   with the reason
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from ghost_deploy.core.errors import UsageError

_ALL = {
    "device": "passed",
    "trust": "file",
    "json": "here",
    "debug": "passed",
    "on": "here",
    "wheels": "here",
    "clean": "here",
}
_RUN = {**_ALL, "threads": "passed", "allow_fallback": "passed"}
_SEVERAL = {**_RUN, "runtimes": "passed", "precisions": "passed"}
_CODE = "refused: a checkpoint is no file for a board, which has no PyTorch"
_SERVER = "refused: a model on a server needs no board"
_OF_A_SERVER = dict.fromkeys(("url", "header", "request_timeout", "retry"), _SERVER)
_LIVE = "refused: it is for cameras and streams; run ghost-deploy on the board for those"

BOARD_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "check": {**_SEVERAL, "bundle": "bundle", "timeout_s": "passed", "no_speed": "passed"},
    "bench": {
        **_SEVERAL,
        **_OF_A_SERVER,
        "max_pixels": "passed",
        "models": "bundle",
        "baseline": "bundle",
        "batches": "passed",
        "streams": "passed",
        "images": "images",
        "duration_s": "passed",
        "rounds": "passed",
        "store": "here",
    },
    "build": {
        **_ALL,
        "bundle": "bundle",
        "trt": "passed",
        "fp32": "passed",
        "fp16": "passed",
        "int8": "passed",
        "strongly_typed": "passed",
        "int8_cache": "file",
        "calibrator": "passed",
        "workspace_mib": "passed",
        "opt_level": "passed",
        "dla": "passed",
        "hardware": "passed",
        "version_compatible": "passed",
        "no_self_check": "passed",
        "try_placements": "passed",
        "overwrite": "passed",
        "verbose": "passed",
    },
    "validate": {
        **_SEVERAL,
        **_OF_A_SERVER,
        "max_pixels": "passed",
        "bundle": "bundle",
        "data": "data",
        "split": "passed",
        "images": "here",
        "checkpoint": _CODE,
        "modules": _CODE,
        "fork": _CODE,
        "fork_unconfined": _CODE,
        "other_checkpoint": _CODE,
        "max_drop": "passed",
        "map_classes": "passed",
        "skip_broken_labels": "passed",
        "choose_thresholds": "refused: thresholds are chosen here, for all machines",
        "metric": "refused: thresholds are chosen here, for all machines",
        "on_broken": "passed",
        "slices": "passed",
        "overlap": "passed",
    },
    "infer": {
        **_RUN,
        "max_pixels": "passed",
        "bundle": "bundle",
        "sources": "sources",
        "runtime": "passed",
        "precision": "passed",
        "out": "output",
        "save": "passed",
        "overwrite": "here",
        "save_uncertain": "output",
        "budget": "passed",
        "jsonl": "output",
        "show": "refused: a board has no window here; -o DIR brings annotated images back",
        "conf": "passed",
        "classes": "passed",
        "iou": "passed",
        "max_det": "passed",
        "agnostic": "passed",
        "slices": "passed",
        "overlap": "passed",
        "no_check": "passed",
        "allow_failed_parity": "passed",
        "on_broken": "passed",
        "log_json": "here",
        "log_level": "here",
        "every": "passed",
        "roi": "passed",
        "max_broken": "passed",
        "track": "passed",
        "skip_still": "passed",
        "fps": _LIVE,
        "max_age_ms": _LIVE,
        "batch": "passed",
        "batch_wait_ms": "passed",
        "require_all": _LIVE,
        "give_up_s": _LIVE,
        "rtsp_by": _LIVE,
        "read_timeout_s": _LIVE,
        "snapshots": _LIVE,
        "webhook": _LIVE,
        "mqtt": _LIVE,
        "serve": _LIVE,
        "keep": _LIVE,
        "strict_health": _LIVE,
        **_OF_A_SERVER,
    },
}
"""By command and by where the option is stored."""


def given_options(
    parser: argparse.ArgumentParser, words: list[str]
) -> list[tuple[argparse.Action, list[str]]]:
    """The options that a command line gives, with their values as they were typed.

    Args:
        parser: of the command; its types are taken away.
        words: behind the name of the command.
    """
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    for action in actions:
        action.type = None
        if action.nargs != 0:  # a value that was not typed is none
            action.default = None
    typed = vars(parser.parse_args(words))
    found: list[tuple[argparse.Action, list[str]]] = []
    for action in actions:
        value = typed.get(action.dest)
        if action.nargs == 0:
            if _is_given(action, value):
                found.append((action, []))
        elif value is not None:
            found.append((action, value if isinstance(value, list) else [value]))
    return found


def _is_given(action: argparse.Action, value: object) -> bool:
    if isinstance(action, argparse.BooleanOptionalAction):
        return value is not None
    return bool(value == action.const and value != action.default)


def flag_of(action: argparse.Action, value: object = True) -> str:
    """The option as it is written on a command line."""
    long = [name for name in action.option_strings if name.startswith("--")]
    if isinstance(action, argparse.BooleanOptionalAction) and value is False:
        return next(name for name in long if name.startswith("--no-"))
    return long[0]


def refuse(action: argparse.Action, handling: str) -> None:
    """Raise for an option that cannot be used with `--on`.

    Raises:
        UsageError: always where the table refuses it.
    """
    if handling.startswith("refused: "):
        flag = flag_of(action)
        raise UsageError(
            f"{flag} cannot be used with --on",
            got=handling.removeprefix("refused: "),
            fix=f"Leave {flag} out",
        )
