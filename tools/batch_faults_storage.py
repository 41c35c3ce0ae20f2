"""A disk that is full in the middle of a run, and a store that fails."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

from tests.support.object_store import BUCKET, object_store, put
from tools.batch_faults_rows import check_files, check_rows, count_parts
from tools.batch_faults_workplace import ROOT, Faults, Workplace, part_of


def fill_disk(place: Workplace, faults: Faults) -> None:
    """Only root may mount; elsewhere it is left out, and said."""
    disk = place.root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print("disk: left out, this user may not mount a small file system")
        return
    small = part_of(place, 2000)
    try:
        out = disk / "out"
        done = subprocess.run(
            small.words(out, "--part-rows", "20"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        full = "disk is full" in done.stderr and "continue" in done.stderr.lower()
        faults.check(done.returncode == 2 and full, f"a full disk: {done.returncode} {done.stderr}")
        faults.counts["full disks"] += 1
        faults.counts["parts before the disk was full"] += count_parts(out)
        check_files(out, faults)
        more = ["mount", "-o", "remount,size=200m", str(disk)]
        subprocess.run(more, check=True)
        done = subprocess.run(
            small.words(out), cwd=ROOT, capture_output=True, text=True, check=False
        )
        faults.check(done.returncode == 0, f"after it: {done.returncode} {done.stderr}")
        check_rows(small.expected(), out, small.broken, faults)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def fail_store(place: Workplace, faults: Faults) -> None:
    from ghost_deploy.batch.file_access import FileAccess

    count = min(2000, place.images)
    source, out = f"s3://{BUCKET}/images", f"s3://{BUCKET}/out"
    expected = {(f"{source}/{number}.jpg", 0) for number in range(count)}
    with object_store() as proxy:
        for number in range(count):
            path = place.archive / f"{number % 50}" / f"{number}.jpg"
            put(proxy, f"images/{number}.jpg", path.read_bytes())
        words = place.words(out, "--part-rows", "20", "--workers", "2")
        words[words.index(str(place.archive))] = source
        proxy.slow_share, proxy.dropped_share = 0.03, 0.02
        for _ in range(20):
            proxy.is_revoked = False
            ended = threading.Event()
            after = proxy.counts["passed"] + proxy.chance.randrange(1000)
            thread = threading.Thread(target=_revoke, args=(proxy, after, ended))
            thread.start()
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
            ended.set()
            thread.join()
            if done.returncode == 0:
                break
            faults.counts["revoked credentials"] += 1
            # In the beginning nothing is written that could be continued.
            told = "continue" in done.stderr or "Check the path" in done.stderr
            is_right = done.returncode == 2 and told and "Traceback" not in done.stderr
            faults.check(is_right, f"revoked: {done.stderr[-600:]}")
        proxy.is_revoked, proxy.slow_share, proxy.dropped_share = False, 0.0, 0.0
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        faults.check(done.returncode == 0, f"the last run on the store: {done.stderr[-600:]}")
        for what, number in proxy.counts.items():
            faults.counts[f"requests {what}"] += number
        system, written = FileAccess().locate(out)
        check_rows(expected, written, min(place.broken, count), faults, system)


def _revoke(proxy: Any, after: int, ended: threading.Event) -> None:
    """Revoke the credentials behind so many requests."""
    while proxy.counts["passed"] < after and not ended.wait(0.01):
        pass
    proxy.is_revoked = True
