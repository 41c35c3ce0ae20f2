"""What a killed command has left: bundles, results, processes, temporary files."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.leftovers import remove_leftovers
from tools.faults_workplace import Workplace
from tools.process_list import processes

MARK = ".ghost-deploy-"
_ENDS_WITHIN_S = 30.0

_OF_OTHERS = "torchinductor_"
"""Begin of the name of a folder that torch keeps in the temporary folder."""


def outlived(session: int) -> list[str]:
    """Processes of a command that live on after it; they are ended."""
    limit = time.monotonic() + _ENDS_WITHIN_S
    while (left := [p for p in processes() if p.session == session]) and time.monotonic() < limit:
        time.sleep(0.1)
    for each in left:
        os.kill(each.pid, signal.SIGKILL)
    return [f"process {each.name!r} lives on" for each in left]


def litter(place: Workplace) -> Iterator[str]:
    """Temporary files and folders of ours, and all in the temporary folder."""
    for path in sorted(place.root.rglob("*")):
        inside = path.parent == place.temporary and not path.name.startswith(_OF_OTHERS)
        if inside or (MARK in path.name and MARK not in str(path.parent.relative_to(place.root))):
            yield str(path.relative_to(place.root))


def carry_on(target: Path) -> list[str]:
    """Do what the next command that writes there does first; what is left then."""
    remove_leftovers(target.parent)
    left = [path.name for path in target.parent.iterdir() if MARK in path.name]
    return [f"{left} beside the bundle after the next one came"] if left else []


def artifact_ids(target: Path) -> frozenset[str]:
    return frozenset(artifact.id for artifact in Bundle.read(target).artifacts)


def bundle_faults(place: Workplace, name: str, target: Path, fresh: bool) -> list[str]:
    """What is wrong with the bundle after a death, before any other command came."""
    if not target.exists():
        return [] if fresh else ["the old bundle is gone"]
    hidden = [path.name for path in target.rglob(".*")]
    faults = [f"in the bundle {hidden} were left"] if hidden else []
    try:
        bundle = Bundle.read(target, verify=True)
        bundle.evidence_files()
        _ = bundle.evidence.parity
    except GhostDeployError as error:
        return [*faults, f"the bundle is damaged: {error}"]
    ids, old = frozenset(artifact.id for artifact in bundle.artifacts), artifact_ids(place.finished)
    if ids not in (place.new[name], old):
        faults.append(f"neither the old bundle nor the new one: {sorted(ids)}")
    return faults


def result_faults(folder: Path) -> list[str]:
    """What is wrong with the lines, snapshots and videos of a killed `stream`."""
    faults = []
    lines = folder / "lines.jsonl"
    if lines.exists():
        *whole, _ = lines.read_bytes().split(b"\n")
        for number, line in enumerate(whole):
            try:
                json.loads(line)
            except ValueError:
                faults.append(f"line {number} of {len(whole)} is damaged")
    for path in (folder / "snapshots").glob("*.jpg"):
        if cv2.imread(str(path)) is None:
            faults.append(f"the snapshot {path.name} does not decode")
    for path in (folder / "videos").glob("*.mp4"):
        video = cv2.VideoCapture(str(path))
        if path.stat().st_size > 1 << 17 and not video.read()[0]:
            faults.append(f"the video {path.name} of {path.stat().st_size} bytes does not open")
        video.release()
    return faults
