"""What a command did on one board, and the evidence that comes back into the bundle here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.evidence.boards import BoardFacts
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.answers import reading_answer
from ghost_deploy.remote.job import BoardJob, JobResult, run_job
from ghost_deploy.remote.session import OURS, BoardSession, opened

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.json_document import Document

Action = Callable[[BoardSession], "BoardOutcome"]


@dataclass(frozen=True)
class BoardOutcome:
    """What a command did on one board.

    Attributes:
        address: of the board.
        code: the exit code for it.
        facts: what the board is; None where it was not reached.
        error: why there is no result.
        result: of the command; None where it did not run.
        results: the folder here with what it wrote.
        removed: what `--clean` removed, with bytes.
    """

    address: BoardAddress
    code: int
    facts: BoardFacts | None = None
    error: GhostDeployError | None = None
    result: JobResult | None = None
    results: Path | None = None
    removed: tuple[tuple[str, int], ...] = field(default=())

    @property
    def name(self) -> str:
        """Of the board."""
        return self.address.name

    @property
    def plain(self) -> dict[str, Any] | None:
        """The JSON document that the command printed; None where it printed none."""
        if self.result is None or not self.result.document.strip():
            return None
        with contextlib.suppress(ValueError, RecursionError):
            found = msgspec.json.decode(self.result.document)
            return _named(found, self.result.names) if isinstance(found, dict) else None
        return None

    @property
    def failure(self) -> str:
        """Why there is no result, in one line; empty where there is one."""
        if self.error is not None:
            return str(self.error)
        if self.result is not None and self.plain is None:
            return last_error(self.result.messages) or f"exit code {self.code}"
        return ""

    @classmethod
    def of(
        cls,
        address: BoardAddress,
        say: Callable[[str], None],
        action: Action,
        begun: Callable[[BoardSession], None],
    ) -> BoardOutcome:
        """Do something on a board; a failure is an outcome too.

        Args:
            address: of the board.
            say: takes messages.
            action: what is done.
            begun: is given the session, as soon as there is one.
        """
        facts = None
        try:
            with (
                reading_answer(address.name, "what was asked for"),
                opened(address, say, begun) as session,
            ):
                facts = facts_of(session)
                say(facts.sentence)
                return action(session)
        except GhostDeployError as error:
            return cls(address, error.exit_code, facts, error)


def _named(plain: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The document with the name that the folder of images has here."""
    images = plain.get("images")
    source = images.get("source") if isinstance(images, dict) else None
    if isinstance(source, str) and source in names:
        plain["images"]["source"] = names[source]
    return plain


def run_on(session: BoardSession, job: BoardJob, results: Path) -> BoardOutcome:
    """Run a command on a board."""
    facts = facts_of(session)
    done = run_job(session, job, results)
    return BoardOutcome(session.address, done.code, facts, None, done, results)


def clean_board(session: BoardSession) -> BoardOutcome:
    """Remove what was installed and sent."""
    removed = session.remove(*OURS)
    return BoardOutcome(session.address, 0, facts_of(session), removed=tuple(removed))


def facts_of(session: BoardSession) -> BoardFacts:
    """The board for evidence, by the clock here."""
    from ghost_deploy.judge.bench.read_machine import processor_name

    board = session.board
    return BoardFacts(
        name=session.name,
        asked_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=board.model,
        processor=processor_name(board.cpuinfo),
        architecture=board.architecture,
        system=board.system,
        distribution=board.distribution,
        python=board.python,
        temperature_c=board.temperature_c,
        governors=board.governors,
        power_mode=board.power_mode,
        clock_offset_s=round(session.clock_offset_s, 1),
    )


def last_error(messages: str) -> str:
    """The last error that a command printed, with what it got and what to do next."""
    lines = messages.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        return next((line for line in reversed(lines) if line.strip()), "")
    said = [line.strip() for line in lines[starts[-1] : starts[-1] + 4]]
    return "; ".join(said).removeprefix("error: ")


def report_of(outcome: BoardOutcome, kind: type[Document]) -> Any:
    """The report that a command printed; times are those of the clock here.

    Raises:
        SpecError: it is damaged or of another version.
    """
    plain = outcome.plain
    if plain is None:
        return None
    return kind.from_document(plain, where=f"the {kind.KIND} report of {outcome.name}")
