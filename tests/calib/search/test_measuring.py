from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ghost_deploy.calib.search.journal import Journal
from ghost_deploy.calib.search.measuring import FloatNodes, Measure
from ghost_deploy.core.errors import UsageError


@dataclass
class Files:
    """Builds files that hold the names of their float nodes."""

    folder: Path
    built: list[FloatNodes] = field(default_factory=list)

    def __call__(self, nodes: FloatNodes) -> Path:
        self.built.append(nodes)
        path = self.folder / f"{'-'.join(sorted(nodes)) or 'none'}.txt"
        path.write_text(" ".join(sorted(nodes)))
        return path


def int8_count(path: Path) -> float:
    return 4.0 - len(path.read_text().split())


def not_a_number(path: Path) -> float:
    return float("nan")


def test_no_models(tmp_path: Path) -> None:
    assert Measure(Files(tmp_path), int8_count).all([]) == []


def test_each_model_is_measured_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    measure = Measure(files, int8_count)
    a, b = frozenset({"a"}), frozenset({"a", "b"})
    assert measure.all([a, b, a]) == [3.0, 2.0, 3.0]
    assert measure(a) == 3.0
    assert files.built == [a, b]


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    a, b = frozenset({"a"}), frozenset({"b"})
    Measure(Files(tmp_path), int8_count, journal=Journal(tmp_path / "j", "k"))(a)
    files = Files(tmp_path)
    told: list[tuple[str, int, int]] = []
    again = Measure(files, int8_count, journal=Journal(tmp_path / "j", "k"))
    assert again.all([a, b], lambda *step: told.append(step), "ranking") == [3.0, 3.0]
    assert files.built == [b]
    assert told == [("ranking", 2, 2)]


def test_another_judge_does_not_see_the_values(tmp_path: Path) -> None:
    journal, a = Journal(None, "k"), frozenset({"a"})
    assert Measure(Files(tmp_path), int8_count, name="map", journal=journal)(a) == 3.0
    assert Measure(Files(tmp_path), lambda _: 9.0, name="noise", journal=journal)(a) == 9.0


def test_several_processes_give_the_values_of_one(tmp_path: Path) -> None:
    sets = [frozenset({"a"}), frozenset({"a", "b"}), frozenset[str]()]
    assert Measure(Files(tmp_path), int8_count, workers=2).all(sets) == [3.0, 2.0, 4.0]


def test_a_judge_that_gives_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a number"):
        Measure(Files(tmp_path), not_a_number)(frozenset())
