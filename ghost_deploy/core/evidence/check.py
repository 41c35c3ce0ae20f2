"""Evidence of a check: what the artifacts of a bundle do on one machine. No bundle keeps it."""

from __future__ import annotations

from typing import ClassVar, Literal

from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.evidence.latency import Ratio
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.core.evidence.parity import ParityRow


class CheckRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime.

    Attributes:
        artifact, sha256: which one.
        runtime, precision: of the run.
        status: `verified`; `failed`: it is wrong here or gives no answer; `unjudged`: the bundle
            carries nothing to compare it with; `skipped`: this machine cannot run it.
        reasons: why it is not verified.
        parity: the comparison with the stored outputs; None where nothing ran.
        p50_ms: median time of the model alone; None where it was not timed.
        over_fastest_float: multiple of the time of the fastest verified float run, round by round.
        wall_s: seconds until the answer: start of the process, compiling, all images, comparison.
    """

    artifact: str
    sha256: str
    runtime: str
    precision: str
    status: Literal["verified", "failed", "unjudged", "skipped"]
    reasons: tuple[str, ...] = ()
    parity: ParityRow | None = None
    p50_ms: float | None = None
    over_fastest_float: Ratio | None = None
    wall_s: float | None = None


class CheckReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle does on this machine.

    Attributes:
        model: name of the model.
        images: carried images that were compared.
        rows: all runs that the bundle offers here.
        machine: where it was checked.
        advice: what to use here, in one sentence.
        warnings: what makes its times doubtful.
    """

    KIND: ClassVar[str] = "check"

    model: str
    images: int
    rows: tuple[CheckRow, ...]
    machine: Snapshot
    advice: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was verified and nothing failed."""
        states = {row.status for row in self.rows}
        return "verified" in states and "failed" not in states

    @property
    def outcome(self) -> bool:
        """Value of `passed` in the JSON form."""
        return self.passed
