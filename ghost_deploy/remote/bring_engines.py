"""TensorRT engines that a board built, put into the bundle here with their records and verdicts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.evidence.build import BuildRecords
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.evidence.parity import ParityReport


def store_engines(sent: Bundle, back: Path) -> Bundle | None:
    """Add what a board added to its copy of a bundle.

    Args:
        sent: the bundle as it went to the board.
        back: the folder that came back.

    Returns:
        The bundle here, saved; None where the board added nothing.

    Raises:
        BundleError: what came back is damaged or is more than engines with their records and
            verdicts, or the bundle here was changed meanwhile; it is then as it was.
    """
    built = Bundle.read_own(back)
    new = [each for each in built.artifacts if each not in sent.artifacts]
    found = {
        kind: text
        for kind, text in built.document.evidence.items()
        if not _same(text, sent.document.evidence.get(kind))
    }
    if not new and not found:
        return None
    _require_engines(new, sent, back)
    _require_own_evidence(sent, built, tuple(found), frozenset(each.id for each in new))
    for artifact in new:
        built.verified_path(artifact)
    with BundleWriter(sent.path, overwrite=True) as writer:
        fresh = Bundle.read(sent.path)
        _require_unchanged(sent, fresh, tuple(found))
        writer.adopt(fresh, without=[each.id for each in new])
        for artifact in new:
            _add(writer, artifact, back)
        evidence = Evidence({**fresh.evidence.documents, **found}, str(sent.path))
        document = fresh.document
        writer.draft(document.spec, document.source, document.created_with, evidence)
        return writer.finish()


def _require_engines(new: Sequence[Artifact], sent: Bundle, back: Path) -> None:
    """Raise unless these are engines as `build` writes them, in files of their own."""
    ids = [each.id for each in new]
    kept = {name for each in sent.artifacts if each.id not in ids for name in each.files}
    for artifact in new:
        made = artifact.format == "tensorrt" and artifact.path.endswith(".plan")
        if not made or artifact.form or artifact.head or artifact.input:
            raise _refused(f"the artifact {artifact.id}")
        for name in artifact.files:
            plain = "/" not in name and "\\" not in name and not name.startswith(".")
            if not plain or not name.startswith(artifact.path) or name in kept:
                raise _refused(f"the file {name} for {artifact.id}")
            if (back / name).is_symlink() or not (back / name).is_file():
                raise _refused(f"{name}, which is no plain file")


def _require_own_evidence(
    sent: Bundle, built: Bundle, kinds: Sequence[str], ids: frozenset[str]
) -> None:
    """Raise unless the evidence of these kinds, which the board changed, is about its engines."""
    for kind in kinds:
        if kind not in (BuildRecords.KIND, ParityReport.KIND):
            raise _refused(f"evidence of the kind {kind}")
    if BuildRecords.KIND in kinds and _records_but(sent, ids) != _records_but(built, ids):
        raise _refused("records of other engines")
    if ParityReport.KIND in kinds and _verdicts_but(sent, ids) != _verdicts_but(built, ids):
        raise _refused("verdicts on other artifacts")


def _records_but(bundle: Bundle, ids: frozenset[str]) -> dict[str, object]:
    records = bundle.evidence.build or BuildRecords()
    return {name: record for name, record in records.engines.items() if name not in ids}


def _verdicts_but(bundle: Bundle, ids: frozenset[str]) -> ParityReport | None:
    report = bundle.evidence.parity
    if report is None:
        return None
    rows = tuple(row for row in report.rows if row.artifact not in ids)
    return msgspec.structs.replace(report, rows=rows)


def _refused(got: str) -> BundleError:
    return BundleError(
        "the board sent back what build does not write, and nothing of it was stored",
        got=got,
        expected="TensorRT engines, their records and their verdicts",
        fix="Check the board: what runs there is not this version of ghost-deploy, or was changed",
    )


def _same(one: msgspec.Raw, other: msgspec.Raw | None) -> bool:
    return other is not None and msgspec.json.decode(one) == msgspec.json.decode(other)


def _require_unchanged(sent: Bundle, fresh: Bundle, kinds: tuple[str, ...]) -> None:
    """Raise unless what the board started from is still there."""
    old, now = sent.document.evidence, fresh.document.evidence
    changed = [kind for kind in kinds if kind in now and not _same(now[kind], old.get(kind))]
    if fresh.artifacts != sent.artifacts or changed:
        raise BundleError(
            f"{sent.path} was changed while the board built",
            got=", ".join(changed) or "other artifacts",
            fix="Build again: the board keeps its caches",
        )


def _add(writer: BundleWriter, artifact: Artifact, back: Path) -> None:
    for name in artifact.files:
        # Neither through a link that came, nor into a file that other bundles share.
        handle = os.open(back / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as source, (writer.folder / name).open("xb") as target:
            shutil.copyfileobj(source, target)
    writer.add(
        format=artifact.format,
        precision=artifact.precision,
        path=writer.folder / artifact.path,
        parent=artifact.parent,
        tools=artifact.tools,
        options=artifact.options,
        extra_files=tuple(writer.folder / n for n in artifact.files if n != artifact.path),
        form=artifact.form,
        head=artifact.head,
        input=artifact.input,
    )
