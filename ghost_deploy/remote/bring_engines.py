"""TensorRT engines that a board built, put into the bundle here with their records and verdicts."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.evidence.kinds import Evidence


def store_engines(sent: Bundle, back: Path) -> Bundle | None:
    """Add what a board added to its copy of a bundle.

    Args:
        sent: the bundle as it went to the board.
        back: the folder that came back.

    Returns:
        The bundle here, saved; None where the board added nothing.

    Raises:
        BundleError: what came back is damaged, or the bundle here was changed meanwhile; it is
            then as it was.
    """
    built = Bundle.read_own(back)
    new = [each for each in built.artifacts if each not in sent.artifacts]
    if not new:
        return None
    found = {
        kind: text
        for kind, text in built.document.evidence.items()
        if not _same(text, sent.document.evidence.get(kind))
    }
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
        place = writer.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(back / name, place)
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
