"""Evidence of boards: what a bundle did on machines at the other end of an SSH line."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.check import CheckReport
from ghost_deploy.core.evidence.json_document import Document, Part, something_ran
from ghost_deploy.core.evidence.latency import BenchReport


class BoardFacts(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A board at the time of a command; unknown facts are empty or None.

    Attributes:
        name: its host, as the user named it, with the port if it is not 22.
        asked_at: UTC by the clock here, ISO 8601.
        model: of the board.
        processor, architecture: e.g. `Cortex-A76`, `aarch64`.
        system, distribution: kernel and release.
        python: its version.
        packages: versions of the packages that ran there.
        temperature_c: of the hottest sensor, before the command.
        governors: that choose the clocks of the cores.
        power_mode: of a Jetson.
        clock_offset_s: what was added to times of the board, whose clock differed.
    """

    name: str
    asked_at: str
    model: str = ""
    processor: str = ""
    architecture: str = ""
    system: str = ""
    distribution: str = ""
    python: str = ""
    packages: dict[str, str] = {}
    temperature_c: float | None = None
    governors: tuple[str, ...] = ()
    power_mode: str = ""
    clock_offset_s: float = 0.0

    @property
    def sentence(self) -> str:
        """One line that names the board, its processor and its state."""
        parts = (
            self.model,
            self.processor or self.architecture,
            self.distribution,
            f"Python {self.python}",
            "" if self.temperature_c is None else f"{self.temperature_c:.0f} °C",
            f"power mode {self.power_mode}" if self.power_mode else "",
            f"governor {', '.join(self.governors)}" if self.governors else "",
        )
        return "; ".join(filter(None, parts))


class BoardRecord(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle did on one board.

    Attributes:
        board: at the last command.
        check, latency, accuracy: the last report of each kind; None where there is none.
    """

    board: BoardFacts
    check: CheckReport | None = None
    latency: BenchReport | None = None
    accuracy: AccuracyReport | None = None

    @property
    def kinds(self) -> str:
        """The reports in which something ran, and their verdicts."""
        stored = (self.check, self.latency, self.accuracy)
        reports = [r for r in stored if r and something_ran(row.status for row in r.rows)]
        verdicts = {True: " passed", False: " failed", None: ""}
        found = [f"{each.KIND}{verdicts[each.outcome]}" for each in reports]
        return ", ".join(found)


class BoardsReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle did on boards.

    Attributes:
        boards: one record for each, by name.
    """

    KIND: ClassVar[str] = "boards"

    boards: tuple[BoardRecord, ...] = ()

    def having(
        self, board: BoardFacts, report: CheckReport | BenchReport | AccuracyReport
    ) -> BoardsReport:
        """A copy in which `report` takes the place of the one of its kind of that board."""
        field = report.KIND
        kept = {record.board.name: record for record in self.boards}
        old = kept.get(board.name, BoardRecord(board=board))
        kept[board.name] = msgspec.structs.replace(old, board=board, **{field: report})
        return BoardsReport(boards=tuple(kept[name] for name in sorted(kept)))
