"""Names that are not known, and those that were meant."""

from __future__ import annotations

import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.lookup import entry_of, near_name, unknown_name

NAMES = ("fp32", "fp16", "bf16", "int8", "--jsonl", "--json", "yolov8n-ghost", "openvino")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("", ""),
        ("xyz", ""),
        ("FP16", "fp16"),
        ("fp61", "fp16"),
        ("opnvino", "openvino"),
        ("openv", "openvino"),
        ("--jsno", "--json"),
        ("yolov8n-gohst", "yolov8n-ghost"),
    ],
)
def test_near_name(name: str, near: str) -> None:
    assert near_name(name, NAMES) == near


def test_without_names_nothing_is_near() -> None:
    assert near_name("fp16", ()) == ""


def test_an_entry_that_is_there() -> None:
    assert entry_of({"a": 1}, "a", "letter") == 1


def test_the_error_lists_the_names_and_asks() -> None:
    with pytest.raises(UsageError) as caught:
        entry_of(dict.fromkeys(NAMES), "opnvino", "runtime")
    assert caught.value.fix == "Did you mean openvino?"
    assert "bf16" in str(caught.value.expected)


def test_many_names_are_cut_and_the_fix_stays_where_none_is_near() -> None:
    error = unknown_name("what", "zzz", map(str, range(99)), fix="Do that", most=3)
    assert (error.expected, error.fix) == ("0, 1, 2, ...", "Do that")
