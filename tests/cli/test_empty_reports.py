"""A report in which nothing ran takes the place of no evidence of the bundle."""

from __future__ import annotations

from pathlib import Path

from ghost_deploy.api.bench import store_latency
from ghost_deploy.api.validate import _store
from ghost_deploy.core.bundle import Bundle
from tests.support.constant_model import write_constant_bundle
from tests.support.report_documents import Run, accuracy_report, bench_report


def test_latency(tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "small")
    notes: list[str] = []
    store_latency([bundle], bench_report([Run(subject="small")]), notes.append)
    before = (bundle.path / "bundle.json").read_bytes()
    store_latency([bundle], bench_report([Run(subject="small", timed="skipped")]), notes.append)
    assert (bundle.path / "bundle.json").read_bytes() == before
    assert Bundle.read(bundle.path).evidence.latency is not None
    assert notes[1] == "nothing of small ran here: no figures were stored"


def test_accuracy(tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "small")
    notes: list[str] = []
    _store(bundle, accuracy_report([Run()]).thin(), notes.append, "", False)
    before = (bundle.path / "bundle.json").read_bytes()
    _store(bundle, accuracy_report([Run(accuracy="skipped")]).thin(), notes.append, "", False)
    assert (bundle.path / "bundle.json").read_bytes() == before
    assert Bundle.read(bundle.path).evidence.accuracy is not None
    assert notes == ["nothing ran here: the report was not stored in the bundle"]
