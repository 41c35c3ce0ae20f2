from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.calib.search.journal import Journal
from ghost_deploy.core.errors import ExportError


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    assert Journal(None, "key").get("map", "conv") is None
    assert Journal(tmp_path / "new" / "journal.jsonl", "key").get("map", "conv") is None


def test_a_value_is_found_again_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, "key").note(0.25, "map", "a", "b")
    again = Journal(path, "key")
    assert again.get("map", "a", "b") == 0.25
    assert again.get("map", "a") is None
    assert again.get("map", "ab") is None


def test_values_made_for_something_else_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, "one model").note(0.25, "map")
    other = Journal(path, "another model")
    assert other.get("map") is None
    other.note(0.5, "map")
    assert Journal(path, "one model").get("map") == 0.25


def test_a_line_that_a_crash_cut_off_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "key")
    journal.note(1.0, "first")
    journal.note(2.0, "second")
    path.write_bytes(path.read_bytes()[:-9])
    cut = Journal(path, "key")
    assert (cut.get("first"), cut.get("second")) == (1.0, None)
    cut.note(3.0, "third")
    assert Journal(path, "key").get("third") == 3.0


def test_an_unusable_path_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot keep"):
        Journal(tmp_path, "key")
