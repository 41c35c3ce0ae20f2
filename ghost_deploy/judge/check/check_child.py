"""A process that checks one artifact: a request on standard input, the row on standard output."""

from __future__ import annotations

import sys

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError, UnavailableError
from ghost_deploy.core.evidence.parity import ParityRow
from ghost_deploy.judge.parity.self_check import self_check
from ghost_deploy.runtimes.base import RuntimeOptions


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to check.

    Attributes:
        bundle: its folder.
        artifact: id of the artifact.
        runtime, precision: of the run.
        device, threads, allow_fallback: as in `RuntimeOptions`.
    """

    bundle: str
    artifact: str
    runtime: str
    precision: str
    device: str = "cpu"
    threads: int = 0
    allow_fallback: bool = False


class CheckReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        row: the comparison; None where the bundle carries nothing to compare with.
        missing: why this machine cannot run it; empty where it can.
        broken: why the artifact gave no result; empty where it did.
    """

    row: ParityRow | None = None
    missing: str = ""
    broken: str = ""


def check(request: CheckRequest) -> CheckReply:
    """Compare one artifact with the outputs that its bundle carries."""
    bundle = Bundle.read(request.bundle)
    (artifact,) = (each for each in bundle.artifacts if each.id == request.artifact)
    options = RuntimeOptions(
        device=request.device, threads=request.threads, allow_fallback=request.allow_fallback
    )
    try:
        row = self_check(bundle, artifact, request.runtime, options, precision=request.precision)
        return CheckReply(row=row)
    except UnavailableError as error:
        return CheckReply(missing=str(error))
    except GhostDeployError as error:
        return CheckReply(broken=str(error))


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=CheckRequest)
    sys.stdout.buffer.write(msgspec.json.encode(check(asked)))
