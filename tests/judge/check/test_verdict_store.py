"""Verdicts are believed only as they were written, by this user, for this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.judge.check import verdict_store
from ghost_deploy.judge.check.verdict_store import StoredVerdict, VerdictStore, verdict_key
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import runtime_row

KEY = "ab" * 32
FAILED = StoredVerdict(passed=False, reasons=("0 of 9 matched",))


@pytest.fixture
def store(tmp_path: Path) -> VerdictStore:
    return VerdictStore.below(tmp_path / "cache")


def test_nothing_is_known_at_first(store: VerdictStore) -> None:
    assert store.get(KEY) is None
    assert VerdictStore(None).get(KEY) is None
    assert "no cache folder" in VerdictStore(None).put(KEY, FAILED)


def test_a_verdict_is_remembered(store: VerdictStore) -> None:
    assert store.put(KEY, FAILED) == ""
    assert store.get(KEY) == FAILED
    assert store.get("cd" * 32) is None


@pytest.mark.parametrize("change", ["passed", "other key", "cut", "binary"])
def test_a_changed_verdict_is_not_believed(store: VerdictStore, change: str) -> None:
    store.put(KEY, FAILED)
    assert store.folder is not None
    file = store.folder / f"{KEY}.json"
    document = json.loads(file.read_text())
    if change == "passed":
        document["verdict"]["passed"] = True
        file.write_text(json.dumps(document))
    elif change == "other key":
        file.rename(store.folder / f"{'cd' * 32}.json")
        assert store.get("cd" * 32) is None
    elif change == "cut":
        file.write_text(file.read_text()[:-9])
    else:
        file.write_bytes(b"\xff\x00")
    assert store.get(KEY) is None


def test_a_folder_that_others_may_write_to_is_not_used(store: VerdictStore) -> None:
    store.put(KEY, FAILED)
    assert store.folder is not None
    os.chmod(store.folder, 0o777)
    assert store.get(KEY) is None
    assert "other users may write" in store.put(KEY, FAILED)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert VerdictStore(tmp_path / "file" / "verdicts").put(KEY, FAILED)


def test_the_key_follows_all_that_the_verdict_depends_on(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32, int8 = (
        PlannedRun(artifact, runtime_row("ort"), artifact.precision)
        for artifact in bundle.artifacts
    )
    keys = [verdict_key(bundle, fp32, "cpu"), verdict_key(bundle, int8, "cpu")]
    keys.append(verdict_key(bundle, fp32, "cuda"))
    monkeypatch.setattr(verdict_store, "distributions_of", lambda package: ("onnxruntime-99",))
    keys.append(verdict_key(bundle, fp32, "cpu"))
    assert len(set(keys)) == 4
    assert verdict_key(bundle, fp32, "cpu") == keys[-1]
