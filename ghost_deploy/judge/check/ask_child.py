"""Ask a child process to check a model: what hangs or dies there is a reply like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.parent_death import parent_mark
from ghost_deploy.judge.check.check_child import CheckReply, CheckRequest
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import RuntimeRow
from ghost_deploy.runtimes.wheels import illegal_instruction

TIME_LIMIT_S = 120.0
"""Seconds that one model may take."""

_COMMAND = ("-m", "ghost_deploy.judge.check.check_child")


def can_ask() -> bool:
    """Whether this interpreter can start another one: an embedded or frozen one cannot."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def ask_child(
    model: Bundle | Path,
    row: RuntimeRow,
    options: RuntimeOptions,
    *,
    artifact: str = "",
    precision: str = "",
    timeout_s: float = TIME_LIMIT_S,
) -> CheckReply:
    """Check one model in a process of its own.

    Args:
        model: a bundle, or a single model file.
        row: the runtime.
        options: device, threads, fallback and cache.
        artifact: id of the artifact of the bundle.
        precision: of the run.
        timeout_s: seconds that it may take.
    """
    request = CheckRequest(
        path=str(model.path if isinstance(model, Bundle) else model),
        bundle=model.document if isinstance(model, Bundle) else None,
        artifact=artifact,
        runtime=row.name,
        precision=precision,
        device=options.device,
        threads=options.threads,
        allow_fallback=options.allow_fallback,
        cache_dir=str(options.cache_dir) if options.cache_dir else None,
    )
    try:
        done = subprocess.run(
            [sys.executable, *_COMMAND],
            input=msgspec.json.encode(request),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            # What this process can import, whatever was added to its path, the child can too.
            env={
                **os.environ,
                **parent_mark(),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
    except subprocess.TimeoutExpired:
        return CheckReply(died=f"no answer within {timeout_s:g} s")
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=CheckReply)
    illegal = done.returncode == -signal.SIGILL
    died = str(illegal_instruction(row.package)) if illegal else _end(done)
    return CheckReply(died=died, illegal=illegal)


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"the process was ended by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the process ended with {done.returncode}"
