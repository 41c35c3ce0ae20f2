"""Artifacts that other servers must not get, because they failed a verdict of their bundle."""

from __future__ import annotations

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.bundle.verdicts import failures_of, replacing_command
from ghost_deploy.core.gate_error import GateError


def refuse_failed(bundle: Bundle, artifact: Artifact) -> None:
    """Raise GateError if an artifact failed a verdict that its bundle keeps."""
    for verdict in failures_of(bundle, artifact):
        raise GateError(
            f"{artifact.id} {verdict.sentence}",
            got=verdict.reason or None,
            fix=f"Replace it: {replacing_command(bundle, artifact)}",
            report=None,
            bundle=bundle,
        )


def failure_lines(bundle: Bundle) -> list[str]:
    """What failed of a bundle and the command that replaces it, a sentence for each artifact."""
    found = ((artifact, failures_of(bundle, artifact)) for artifact in bundle.artifacts)
    return [
        f"{artifact.id} {'; '.join(map(str, failed))}. Replace it: "
        + replacing_command(bundle, artifact)
        for artifact, failed in found
        if failed
    ]
