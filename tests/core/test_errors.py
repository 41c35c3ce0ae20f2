"""Errors state what happened, what was found, what was expected and the fix."""

from __future__ import annotations

import pytest

from ghost_deploy.core import errors
from ghost_deploy.core.errors import GhostDeployError, MissingExtraError, UnavailableError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.install_command import install_command

CLASSES = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_every_error_is_drawn_in_the_tree(kind: type[GhostDeployError]) -> None:
    assert errors.__doc__ is not None
    assert f" {kind.__name__} " in errors.__doc__


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "It broke. Fix it."),
        ({"got": 3}, "It broke: got 3. Fix it."),
        ({"got": 0, "expected": 4}, "It broke: got 0, expected 4. Fix it."),
    ],
)
def test_message(facts: dict[str, object], text: str) -> None:
    assert str(GhostDeployError("It broke", fix="Fix it.", **facts)) == text


def test_what_others_sent_does_not_steer_a_terminal() -> None:
    error = GhostDeployError("a\x1b]0;b\x07", got="\x9b2J\u202ec\n d\xa0\xe9", fix="e\x1b[8m")
    assert str(error) == "a\\x1b]0;b\\x07: got \\x9b2J\\u202ec\n d\xa0\xe9. e\\x1b[8m"
    assert error.got == "\x9b2J\u202ec\n d\xa0\xe9", "programs get what was sent"


def test_an_error_without_a_next_step_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="fix"):
        GhostDeployError("It broke")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_exit_codes(kind: type[GhostDeployError]) -> None:
    wanted = 1 if issubclass(kind, GateError) else 3 if issubclass(kind, UnavailableError) else 2
    assert kind.exit_code == wanted


def test_missing_extra_names_the_command() -> None:
    assert install_command("openvino") in str(MissingExtraError.for_extra("openvino", "openvino"))
