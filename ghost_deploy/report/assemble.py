"""Build a report from its sources."""

from __future__ import annotations

from datetime import datetime, timezone

from ghost_deploy._version import __version__
from ghost_deploy.report.joined_rows import make_rows
from ghost_deploy.report.material import Material
from ghost_deploy.report.recommendation import recommend
from ghost_deploy.report.report_document import Report


def assemble(material: Material, *, now: datetime | None = None) -> Report:
    """Build a report; the verdict is computed anew.

    Args:
        material: the sources.
        now: the time of the report; the present by default.
    """
    rows = make_rows(material)
    moment = now or datetime.now(timezone.utc)
    return Report(
        title=_title(material),
        created_at=moment.isoformat(timespec="seconds"),
        created_with=f"ghost-deploy {__version__}",
        verdict=recommend(material, rows),
        rows=rows,
        parity=tuple(material.parity),
        accuracy=tuple(material.accuracy),
        latency=tuple(material.latency),
        bundles=tuple(material.bundles),
        sources=tuple(material.sources),
    )


def _title(material: Material) -> str:
    """The models' names, each once."""
    names = [report.model for report in material.parity]
    names += [report.model for report in material.accuracy]
    names += [bundle.document.spec.name for bundle in material.bundles]
    names += [
        row.model or row.artifact
        for report in material.latency
        for row in report.rows
        if not row.baseline
    ]
    return ", ".join(dict.fromkeys(names)) or "nothing"
