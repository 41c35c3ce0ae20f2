"""What a report can be made of, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.errors import GhostDeployError, InputError, SpecError, UsageError
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.material import read_sources
from ghost_deploy.report.report_document import Report
from tests.support.report_documents import (
    NOW,
    USUAL,
    accuracy_report,
    bench_report,
    make_report,
    parity_report,
)
from tests.support.stored_evidence import with_plain_evidence


def write(folder: Path, name: str, document: Any) -> Path:
    path = folder / name
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a JSON document"),
        (b"\xff\xfe", "not a JSON document"),
        (b"[" * 100_000, "not a JSON document"),
        (b"[]", "no document that a report can be built from"),
        (b'"text"', "no document"),
        (b"{}", "no document"),
        (b'{"spec": 1, "source": 2, "artifacts": 3, "created_with": 4}', "no document"),
    ],
)
def test_what_is_none_of_the_documents(content: bytes, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", content)
    with pytest.raises(InputError, match=says) as caught:
        read_sources([path])
    assert str(path) in str(caught.value)


def test_nothing_and_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to report on"):
        read_sources([])
    path = write(tmp_path, "a.json", accuracy_report(USUAL).to_document())
    with pytest.raises(UsageError, match="given twice"):
        read_sources([path, path])
    with pytest.raises(InputError, match="cannot read"):
        read_sources([tmp_path / "absent.json"])
    with pytest.raises(GhostDeployError, match="is not a bundle"):
        read_sources([tmp_path])


DOCUMENTS = {
    "accuracy": accuracy_report(USUAL),
    "parity": parity_report(USUAL),
    "latency": bench_report(USUAL),
    "report": make_report(),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_each_is_recognized_by_what_it_holds(kind: str, tmp_path: Path) -> None:
    found = read_sources([write(tmp_path, "x.json", DOCUMENTS[kind].to_document())])
    assert found.sources[-1].kind == kind
    assert found.sources[-1].name == "x.json"
    assert len(found.sources[-1].sha256) == 64


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("change", [{"unknown": 1}, {"schema": 99}, {"rows": 3}])
def test_unknown_keys_and_other_versions_are_refused(
    kind: str, change: dict[str, Any], tmp_path: Path
) -> None:
    document = {**DOCUMENTS[kind].to_document(), **change}
    with pytest.raises(InputError, match=f"looks like a {kind} document"):
        read_sources([write(tmp_path, "x.json", document)])


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("accuracy", ["rows", 0, "accuracy", "classes"], []),
        ("accuracy", ["rows", 0, "accuracy", "classes", 0, "curve"], [1.0]),
        ("accuracy", ["rows", 1, "classes"], [{"delta": 0.0, "interval": None}]),
        ("accuracy", ["hard_images", 0, "row"], 99),
        ("accuracy", ["hard_images", 0, "size_hw"], [0, 10]),
        ("accuracy", ["reference"], None),
        ("latency", ["rows", 0, "figures", "stages"], {}),
        ("latency", ["rows", 0, "config", "batch"], 0),
    ],
)
def test_a_document_that_contradicts_itself(
    kind: str, place: list[Any], value: Any, tmp_path: Path
) -> None:
    document = json.loads(msgspec.json.encode(DOCUMENTS[kind].to_document()))
    parent = document
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    with pytest.raises(InputError, match="contradicts itself"):
        read_sources([write(tmp_path, "x.json", document)])
    whole = json.loads(msgspec.json.encode(DOCUMENTS["report"]))
    whole[kind] = [{k: v for k, v in document.items() if k != "passed"}]
    with pytest.raises(SpecError):
        Report.from_document(whole)


def test_a_report_survives_json_and_can_be_made_again(tmp_path: Path) -> None:
    made = make_report()
    again = Report.from_document(json.loads(msgspec.json.encode(made)))
    assert again == made
    path = write(tmp_path, "report.json", made.to_document())
    second = assemble(read_sources([path]), now=NOW)
    assert second.sources == (*made.sources, second.sources[-1])
    assert msgspec.structs.replace(second, sources=made.sources) == made


def test_a_row_must_have_its_figures() -> None:
    document = make_report().to_document()
    with pytest.raises(SpecError, match="figures of"):
        Report.from_document({**document, "parity": []})
    verdict = {**document["verdict"], "row": 99}
    with pytest.raises(SpecError, match="verdict"):
        Report.from_document({**document, "verdict": verdict})


def test_a_document_goes_before_what_the_bundle_keeps(tmp_path: Path) -> None:
    from ghost_deploy.core.bundle import Bundle
    from tests.support.constant_model import write_constant_bundle

    folder = tmp_path / "made"
    kept = accuracy_report(USUAL[:1]).thin().to_document()
    bundle: Bundle = write_constant_bundle(folder)
    with_plain_evidence(bundle, {"accuracy": kept, "other": {"a": 1}}).save()
    alone = read_sources([folder])
    assert [row.artifact for row in alone.accuracy[0].rows] == ["onnx-fp32"]
    assert list(alone.bundles[0].document.evidence) == ["other"]
    full = write(tmp_path, "accuracy.json", accuracy_report(USUAL).to_document())
    both = read_sources([folder, full])
    assert len(both.accuracy) == 1
    assert len(both.accuracy[0].rows) == len(USUAL)
    broken = with_plain_evidence(Bundle.read(folder), {"accuracy": {"schema": 1}})
    broken.save()
    with pytest.raises(SpecError, match="accuracy evidence of made"):
        read_sources([folder])


def test_the_same_model_on_two_data_sets() -> None:
    from tests.support.report_documents import material

    found = material(USUAL[:1])
    found.accuracy.append(accuracy_report(USUAL[:1], level=0.4))
    made = assemble(found)
    assert [row.accuracy and row.accuracy.report for row in made.rows] == [0, 1]
    assert len({row.label for row in made.rows}) == 2
