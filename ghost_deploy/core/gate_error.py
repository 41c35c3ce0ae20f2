"""The error of a gate: what was measured is outside its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghost_deploy.core.errors import GhostDeployError

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle
    from ghost_deploy.core.evidence.json_document import Document


class GateError(GhostDeployError):
    """A measured figure is outside its gate.

    Args:
        what, fix, got, expected: as in `GhostDeployError`.
        report: the document with the verdict, kept as `report`.
        bundle: the bundle that holds it, kept as `bundle`; it was written in spite of the verdict.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        fix: str,
        got: object = None,
        expected: object = None,
        report: Document | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        self.report = report
        self.bundle = bundle
        super().__init__(what, fix=fix, got=got, expected=expected)
