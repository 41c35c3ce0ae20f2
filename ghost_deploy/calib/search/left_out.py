"""Which int8 files for other vendors' runtimes stay out of a bundle.

An artifact with a failed verdict is kept, because `load` refuses it. Files for NCNN and for
Rockchip's NPUs are also taken out of the bundle and run by programs that read no verdict: one that
surely loses too much is left out, unless the user allowed a loss by name.
"""

from __future__ import annotations

import msgspec

from ghost_deploy.core.bundle import Artifact, BundleWriter
from ghost_deploy.core.evidence.int8 import Int8Row


def keep_or_remove(
    writer: BundleWriter, artifact: Artifact, row: Int8Row, limit: float | None
) -> Int8Row:
    """The row of a file that was added to a bundle; removes the file if it surely loses too much.

    Args:
        writer: of the bundle.
        artifact: that was added.
        row: its result.
        limit: points; what loses more, with the whole 95 per cent interval, is removed. None keeps
            all.
    """
    if limit is None or row.drop_low is None or row.drop_low <= limit:
        return row
    writer.remove(artifact)
    note = (
        f"not kept: even the lower end of the interval is above {limit:g}; "
        "--max-drop POINTS keeps it"
    )
    return msgspec.structs.replace(row, status="failed", kept=False, notes=(*row.notes, note))
