"""What a board says is read here: whatever it says wrongly becomes one kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from ghost_deploy.core.errors import BoardError, GhostDeployError

T = TypeVar("T")

_SHOWN = 200
_OF_READING = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python raises on a document that is not what it should be."""


def wrong_answer(name: str, what: str, got: object) -> BoardError:
    """The error for a board that answered something else.

    Args:
        name: of the board.
        what: it should have answered, e.g. `a list of files`.
        got: the answer, or what is wrong with it.
    """
    text = ascii(got) if isinstance(got, bytes) else str(got)
    return BoardError(
        f"the board {name} answered something that is not {what}",
        got=text[:_SHOWN] or "nothing",
        fix="Check that its Python and the shell of the account print nothing by themselves, and "
        "that nothing on the board was changed; --clean removes what was installed there",
    )


@contextlib.contextmanager
def reading_answer(name: str, what: str) -> Iterator[None]:
    """In its block whatever an answer of a board makes Python raise is an error of that board.

    Args:
        name: of the board.
        what: the block reads.

    Raises:
        BoardError: the answer is something else. Errors of ours stay as they are.
    """
    try:
        yield
    except GhostDeployError:
        raise
    except _OF_READING as error:
        raise wrong_answer(name, what, f"{type(error).__name__}: {error}") from error


def decoded_answer(name: str, what: str, text: bytes, kind: type[T]) -> T:
    """An answer in JSON.

    Raises:
        BoardError: it is not of that kind.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        raise wrong_answer(name, what, bytes(text[:_SHOWN])) from error
