"""Verdicts of checks on this machine, beside the cache of compiled models.

A verdict belongs to the bytes of an artifact and of the reference outputs, to the backend and its
version, and to the processor, device and driver. Files are written whole, carry a hash of their
content and are believed only in a folder that no other user may write to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.files import MAX_TEXT_BYTES, is_private, read_regular, write_whole
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import RuntimeRow
from ghost_deploy.runtimes.wheels import distributions_of


class StoredVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verdict.

    Attributes:
        passed: whether the artifact reproduced the stored outputs, or ran where there are none.
        reasons: why not.
        judged: whether there were outputs to compare with.
        p50_ms: median time of the model alone, milliseconds, in the last check of the whole
            bundle, where all artifacts took turns; None where it was not timed.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    judged: bool = True
    p50_ms: float | None = None

    @property
    def verified(self) -> bool:
        """Whether the artifact was compared here and passed."""
        return self.passed and self.judged


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    verdict: StoredVerdict
    sha256: str


def verdict_key(bundle: Bundle, run: PlannedRun, device: str) -> str:
    """Hash of everything that a verdict depends on.

    Args:
        bundle: that holds the artifact and the reference outputs.
        run: the artifact, its runtime and precision.
        device: as in `RuntimeOptions.device`.
    """
    reference = bundle.evidence.reference
    file = run.artifact.files[run.artifact.path]
    return _key(run.row, device, file, reference.sha256 if reference else "", run.precision)


def backend_key(row: RuntimeRow, device: str) -> str:
    """Hash of what decides whether a backend runs at all.

    Args:
        row: of the backend.
        device: as in `RuntimeOptions.device`.
    """
    return _key(row, device)


def _key(row: RuntimeRow, device: str, *content: str) -> str:
    machine = read_machine()
    parts = (
        *content,
        row.name,
        *distributions_of(row.package),
        device,
        machine.cpu_key,
        machine.nvidia_driver,
        *machine.nvidia_gpus,
        __version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class VerdictStore:
    """The verdicts of one machine.

    Attributes:
        folder: of the files; None keeps nothing.
    """

    folder: Path | None

    @classmethod
    def below(cls, cache_dir: Path | None) -> VerdictStore:
        """The store in a cache folder of this user."""
        return cls(None if cache_dir is None else cache_dir / "verdicts")

    def get(self, key: str) -> StoredVerdict | None:
        """The verdict of `key`; None where there is none that can be believed."""
        if self.folder is None or not is_private(self.folder):
            return None
        try:
            data = read_regular(self.folder / f"{key}.json", MAX_TEXT_BYTES)
            stored = msgspec.json.decode(data, type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return stored.verdict if stored.sha256 == _digest(key, stored.verdict) else None

    def put(self, key: str, verdict: StoredVerdict) -> str:
        """Keep a verdict.

        Returns:
            Why it could not be kept; empty where it was.
        """
        if self.folder is None:
            return "this account has no cache folder"
        file = _File(verdict=verdict, sha256=_digest(key, verdict))
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not is_private(self.folder):
                return f"other users may write to {self.folder}"
            data = msgspec.json.encode(file)
            write_whole(self.folder / f"{key}.json", lambda opened: opened.write(data))
        except (OSError, ExportError) as error:
            return str(getattr(error, "got", None) or error)
        return ""


def _digest(key: str, verdict: StoredVerdict) -> str:
    return hashlib.sha256(key.encode() + msgspec.json.encode(verdict)).hexdigest()
