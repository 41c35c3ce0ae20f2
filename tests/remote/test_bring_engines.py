"""Engines that a board built come into the bundle here, or nothing does."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.remote.bring_engines import store_engines
from tests.support.constant_model import write_constant_bundle

RECORDS = msgspec.Raw(b'{"schema":1,"engines":{}}')


@pytest.fixture
def sent(tmp_path: Path) -> Bundle:
    return write_constant_bundle(tmp_path / "best")


def built_copy(sent: Bundle, folder: Path, content: bytes = b"plan") -> Path:
    """The board's copy after it has built."""
    shutil.copytree(sent.path, folder)
    copy = Bundle.read(folder)
    with BundleWriter(folder, overwrite=True) as writer:
        writer.adopt(copy, without=["tensorrt-fp16"])
        path = writer.folder / "model.fp16.plan"
        path.write_bytes(content)
        writer.add(format="tensorrt", precision="fp16", path=path, parent="0", tools={"t": "10"})
        evidence = Evidence({**copy.evidence.documents, "build": RECORDS}, "")
        document = copy.document
        writer.draft(document.spec, document.source, document.created_with, evidence)
        writer.finish()
    return folder


def test_nothing_was_built(sent: Bundle, tmp_path: Path) -> None:
    shutil.copytree(sent.path, tmp_path / "back")
    before = (sent.path / "bundle.json").read_bytes()
    assert store_engines(sent, tmp_path / "back") is None
    assert (sent.path / "bundle.json").read_bytes() == before


def test_an_engine_comes_with_its_record_and_evidence_here_stays(
    sent: Bundle, tmp_path: Path
) -> None:
    back = built_copy(sent, tmp_path / "back")
    other = msgspec.Raw(b'{"schema":1,"boards":[]}')
    document = msgspec.structs.replace(sent.document, evidence={"boards": other})
    Bundle(sent.path, document).save()  # another command, meanwhile
    stored = store_engines(sent, back)
    assert stored is not None
    found = Bundle.read(sent.path, verify=True)
    assert [artifact.id for artifact in found.artifacts] == ["onnx-fp32", "tensorrt-fp16"]
    assert set(found.document.evidence) == {"boards", "build"}
    assert (sent.path / "model.fp16.plan").read_bytes() == b"plan"


def test_an_engine_is_replaced(sent: Bundle, tmp_path: Path) -> None:
    store_engines(sent, built_copy(sent, tmp_path / "back"))
    first = Bundle.read(sent.path)
    stored = store_engines(first, built_copy(first, tmp_path / "again", b"newer"))
    assert stored is not None
    assert [artifact.id for artifact in stored.artifacts] == ["onnx-fp32", "tensorrt-fp16"]
    assert (sent.path / "model.fp16.plan").read_bytes() == b"newer"


def test_a_bundle_that_was_exported_anew_is_left_as_it_is(sent: Bundle, tmp_path: Path) -> None:
    back = built_copy(sent, tmp_path / "back")
    shutil.rmtree(sent.path)
    write_constant_bundle(sent.path, precisions=("fp16",))
    before = (sent.path / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="was changed while the board built"):
        store_engines(sent, back)
    assert (sent.path / "bundle.json").read_bytes() == before


def test_a_damaged_engine_is_left_out(sent: Bundle, tmp_path: Path) -> None:
    back = built_copy(sent, tmp_path / "back")
    (back / "model.fp16.plan").write_bytes(b"PLAN")
    before = (sent.path / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="was changed after it was written"):
        store_engines(sent, back)
    assert (sent.path / "bundle.json").read_bytes() == before


Edit = Callable[[dict[str, Any], Path], None]


def _listed(document: dict[str, Any], back: Path, name: str, content: bytes, **facts: Any) -> None:
    """Add an artifact with a file to what the board sends."""
    (back / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest()}
    new = {**document["artifacts"][0], "path": name, "files": files, "sizes": {}}
    document["artifacts"].append({**new, "format": "tensorrt", "precision": "fp32", **facts})


def _another_format(document: dict[str, Any], back: Path) -> None:
    _listed(document, back, "x.onnx", b"x", format="onnx", precision="bf16")


def _the_graph_anew(document: dict[str, Any], back: Path) -> None:
    _listed(document, back, "x.onnx", b"x", format="onnx")
    del document["artifacts"][0]


def _a_file_of_another(document: dict[str, Any], back: Path) -> None:
    engine = document["artifacts"][-1]
    (back / "model.fp32.onnx").write_bytes(b"other")
    engine["files"]["model.fp32.onnx"] = hashlib.sha256(b"other").hexdigest()
    engine["sizes"]["model.fp32.onnx"] = 5


def _a_link(document: dict[str, Any], back: Path) -> None:
    (back / "model.fp16.plan").unlink()
    (back.parent / "secret").write_bytes(b"plan")
    (back / "model.fp16.plan").symlink_to(back.parent / "secret")


def _a_head(document: dict[str, Any], back: Path) -> None:
    document["artifacts"][-1]["form"] = "nms"


def _other_evidence(document: dict[str, Any], back: Path) -> None:
    document["evidence"]["accuracy"] = {"schema": 1}


def _evidence_alone(document: dict[str, Any], back: Path) -> None:
    document["artifacts"].pop()
    document["evidence"] = {"thresholds": {"schema": 1}}


def _record_of_another(document: dict[str, Any], back: Path) -> None:
    fingerprint = {"tensorrt": "", "cuda": "", "compute_capability": "", "gpu": "", "platform": ""}
    record = {
        "route": "",
        "built_from": "",
        "fingerprint": fingerprint,
        "workspace_mib": 1,
        "precisions": {},
        "reformats": 0,
        "pinned": 0,
        "dla": None,
        "timing_cache": "new",
    }
    document["evidence"]["build"]["engines"] = {"tensorrt-int8": record}


@pytest.mark.parametrize(
    "edit",
    [
        _another_format,
        _the_graph_anew,
        _a_file_of_another,
        _a_link,
        _a_head,
        _other_evidence,
        _evidence_alone,
        _record_of_another,
    ],
)
def test_what_build_does_not_write_is_refused(sent: Bundle, tmp_path: Path, edit: Edit) -> None:
    back = built_copy(sent, tmp_path / "back")
    document = json.loads((back / "bundle.json").read_text())
    edit(document, back)
    (back / "bundle.json").write_text(json.dumps(document))
    before = {path.name: path.read_bytes() for path in sent.path.iterdir()}
    with pytest.raises(BundleError, match="what build does not write"):
        store_engines(sent, back)
    assert {path.name: path.read_bytes() for path in sent.path.iterdir()} == before
