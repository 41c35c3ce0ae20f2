from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.judge.bench.selection import Selection, candidates, label_of, open_subjects
from ghost_deploy.runtimes.table import RuntimeRow
from tests.support.constant_model import write_constant_bundle, write_constant_onnx


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_constant_bundle(
        tmp_path_factory.mktemp("b") / "small", ("fp32", "fp16"), batch=(1, 4)
    )


def only(*models: Any) -> Any:
    (subject,) = open_subjects(models)
    return subject


def test_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        open_subjects([])


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle or model"):
        open_subjects([tmp_path / "absent"])
    with pytest.raises(BundleError, match="not a bundle"):
        open_subjects([tmp_path])
    (tmp_path / "model.mlmodel").write_bytes(b"x")
    with pytest.raises(UsageError, match="no runtime reads"):
        open_subjects([tmp_path / "model.mlmodel"])


def test_one_bundle_given_twice(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="given twice"):
        open_subjects([bundle, bundle.path])
    with pytest.raises(UsageError, match="given twice"):
        open_subjects([bundle.path / "bundle.json", bundle.path])


@pytest.mark.parametrize(
    "selection",
    [
        {"precisions": ["fp8"]},
        {"batches": [0]},
        {"batches": []},
        {"threads": [-1]},
        {"threads": []},
        {"threads": [1, 10**6]},
        {"streams": [1, 10**6]},
        {"streams": [0]},
    ],
    ids=str,
)
def test_selections_that_make_no_sense(selection: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Selection(**selection)


def test_unknown_runtimes(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no runtime 'tensorflow'"):
        candidates(only(bundle), Selection(runtimes=["tensorflow"]))


@pytest.mark.parametrize(
    "selection", [{"runtimes": ["openvino"]}, {"precisions": ["int8"]}, {"precisions": ["bf16"]}]
)
def test_what_the_bundle_lacks(selection: Any, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="nothing of small can be measured") as caught:
        candidates(only(bundle), Selection(**selection))
    assert caught.value.got == "onnx-fp32, onnx-fp16"


def test_a_batch_that_the_graph_lacks(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="takes no batch of 5") as caught:
        candidates(only(bundle), Selection(batches=[4, 5]))
    assert caught.value.expected == "1 to 4"


def test_a_batch_on_a_static_bundle_names_the_option_that_helps(tmp_path: Path) -> None:
    static = write_constant_bundle(tmp_path / "static")
    with pytest.raises(UsageError, match="static takes no batch of 4") as caught:
        candidates(only(static), Selection(batches=[4]))
    assert caught.value.expected == "1"
    assert "--dynamic" in caught.value.fix


def test_a_file_that_was_changed(tmp_path: Path) -> None:
    changed = write_constant_bundle(tmp_path / "changed")
    with (tmp_path / "changed/model.fp32.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="was changed"):
        candidates(only(changed), Selection())


def test_all_of_a_bundle(bundle: Bundle) -> None:
    found = candidates(only(bundle), Selection())
    assert [(each.artifact, each.config.runtime, each.config.precision) for each in found] == [
        ("onnx-fp32", "ort", "fp32"),
        ("onnx-fp16", "ort", "fp16"),
    ]
    assert [each.config.batch for each in found] == [1, 1]
    assert not any(each.named or each.baseline for each in found)
    assert found[0].bytes == found[0].path.stat().st_size
    assert found[0].spec == bundle.spec


@pytest.mark.parametrize(
    ("runtimes", "installed", "named"),
    [(None, True, True), (None, False, False), (["ort"], False, True)],
)
def test_a_precision_alone_does_not_ask_for_runtimes_that_are_not_installed(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    runtimes: list[str] | None,
    installed: bool,
    named: bool,
) -> None:
    monkeypatch.setattr(RuntimeRow, "installed", property(lambda _: installed))
    found = candidates(only(bundle), Selection(runtimes=runtimes, precisions=["fp32"]))
    assert [each.named for each in found] == [named]


def test_every_way_to_run(bundle: Bundle) -> None:
    selection = Selection(precisions=["fp32"], batches=[1, 4], threads=[1, 2], streams=[1, 3])
    found = candidates(only(bundle), selection, baseline=True)
    ways = [(c.config.batch, c.config.threads, c.config.streams) for c in found]
    assert ways == [(b, t, s) for b in (1, 4) for t in (1, 2) for s in (1, 3)]
    assert [c.config.hint for c in found[:2]] == ["latency", "throughput"]
    assert all(each.named and each.baseline for each in found)


def test_names(bundle: Bundle, tmp_path: Path) -> None:
    other = write_constant_bundle(tmp_path / "other")
    namesake = write_constant_bundle(tmp_path / "small")
    assert [s.name for s in open_subjects([bundle, other])] == ["small", "other"]
    assert [s.name for s in open_subjects([bundle, namesake])] == [
        str(bundle.path),
        str(namesake.path),
    ]


def test_labels(bundle: Bundle, tmp_path: Path) -> None:
    found = candidates(only(bundle), Selection(runtimes=["ort"], precisions=["fp32"]))
    assert label_of(found[0]) == "small onnx-fp32 on ort"
    (file,) = candidates(
        only(write_constant_onnx(tmp_path / "a.onnx")), Selection(runtimes=["ort"])
    )
    assert label_of(file) == "a.onnx on ort"
    assert label_of(found[0], with_subject=False) == "onnx-fp32 on ort"
    half = replace(found[0], config=msgspec.structs.replace(found[0].config, precision="bf16"))
    assert label_of(half) == "small onnx-fp32 on ort in bf16"


def test_a_model_file(tmp_path: Path) -> None:
    path = write_constant_onnx(tmp_path / "theirs.onnx")
    (found,) = candidates(only(path), Selection())
    assert (found.artifact, found.spec, found.config.precision) == ("theirs.onnx", None, "")
    assert found.config.runtime == "ort"
    assert found.path.is_absolute()
    with pytest.raises(UsageError, match=r"nothing of theirs\.onnx"):
        candidates(only(path), Selection(runtimes=["openvino"]))
