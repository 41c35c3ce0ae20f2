"""The table of sources: each row has what is needed to read it."""

from __future__ import annotations

import pytest

from ghost_deploy.stream.sources.source_table import SOURCES, SourceKind, source_backends


@pytest.mark.parametrize("kind", SOURCES.values(), ids=lambda kind: kind.name)
def test_a_row(kind: SourceKind) -> None:
    assert callable(kind.load().open_reader)
    assert kind.reader or callable(kind.load().read_by)


def test_doctor_names_each_kind() -> None:
    found = source_backends()
    assert list(found) == [kind.form for kind in reversed(SOURCES.values())]
    assert all(found.values())
