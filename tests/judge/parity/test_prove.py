"""Parity from end to end: on fakes for what goes wrong, on real bundles for what must pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.errors import (
    BackendError,
    BundleError,
    DeviceError,
    ImageError,
    MissingExtraError,
    UsageError,
)
from ghost_deploy.core.evidence.parity import ParityRow
from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.judge.parity.prove import ParityReport, run_parity
from ghost_deploy.runtimes import opener
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import needs_assets, val_images
from tests.support.cpu_capabilities import HAS_BF16
from tests.support.exports import ExportedCheckpoint
from tests.support.images import write_images
from tests.support.stored_evidence import evidence_of
from tests.support.two_class_model import raw_output, two_class_spec

ROWS = [(4, 12, 34, 42, 0.9, 0), (40, 20, 60, 50, 0.6, 1), (20, 10, 50, 30, 0.2497, 1)]
SPEC = two_class_spec()
Change = Callable[[NDArray[Any]], None]


class Net(torch.nn.Module):
    """Stands for the checkpoint's module; what it finds depends a little on the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(answer(x.numpy()))


def answer(tensor: NDArray[Any], change: Change | None = None) -> NDArray[np.float32]:
    output = raw_output(ROWS)
    output[:4, : len(ROWS)] += tensor.mean()
    if change:
        change(output)
    return output[None]


@dataclass(frozen=True)
class FakeLoaded:
    net: Any
    spec: ModelSpec
    source: Source


LOADED = FakeLoaded(Net().eval(), SPEC, Source(file="toy.pt", sha256="0" * 64))


def make_bundle(
    folder: Path, spec: ModelSpec = SPEC, ids: tuple[str, ...] = ("onnx-fp32", "openvino-fp32")
) -> Bundle:
    with BundleWriter(folder) as writer:
        for each in ids:
            form, precision = each.split("-")
            path = writer.folder / f"{each}.bin"
            path.write_bytes(each.encode())
            writer.add(format=form, precision=precision, path=path, parent="0" * 64, tools={})
        writer.draft(spec, LOADED.source, "test")
        return writer.finish()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return write_images(tmp_path, 3)


Opener = Callable[[str, Path, RuntimeOptions], Runtime]


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each `runtime-precision` does: a change of its output, or an error to raise."""
    behaviour: dict[str, Any] = {}

    def open_file(name: str, path: Path, options: RuntimeOptions) -> Runtime:
        found = behaviour.get(f"{name}-{options.precision}")
        if isinstance(found, Exception):
            raise found
        if isinstance(found, Runtime):
            return found

        def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            return {"output0": answer(feeds["images"], found)}

        fake = FakeRuntime.for_spec(behaviour.get("spec", SPEC), function)
        fake.info = replace(fake.info, runtime=name, precision=options.precision)
        return fake

    monkeypatch.setattr(opener, "open_file", open_file)
    return behaviour


def row(report: ParityReport, artifact: str, precision: str = "") -> ParityRow:
    (found,) = (
        each
        for each in report.rows
        if each.artifact == artifact and precision in ("", each.precision)
    )
    return found


NO_BF16 = DeviceError("this CPU has no bf16", fix="Choose fp32")


def test_no_image_is_refused(tmp_path: Path, backends: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no image"):
        run_parity(LOADED, make_bundle(tmp_path / "b"), [])


def test_an_unreadable_image_is_named(tmp_path: Path, backends: dict[str, Any]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        run_parity(LOADED, make_bundle(tmp_path / "b"), [broken])


def test_a_bundle_without_artifacts_is_refused(tmp_path: Path, images: list[Path]) -> None:
    with pytest.raises(UsageError, match="nothing in"):
        run_parity(LOADED, make_bundle(tmp_path / "b", ids=()), images)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ({"runtimes": ["nonesuch"]}, UsageError),
        ({"runtimes": ["trt"]}, UsageError),
        ({"precisions": ["fp4"]}, UsageError),
        ({"precisions": ["int8"]}, UsageError),
        ({"runtimes": ["eager"]}, UsageError),
    ],
)
def test_names_that_fit_nothing_are_refused(
    tmp_path: Path, images: list[Path], names: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run_parity(LOADED, make_bundle(tmp_path / "b"), images, **names)


def test_equal_models_pass(tmp_path: Path, images: list[Path], backends: dict[str, Any]) -> None:
    backends["openvino-bf16"] = NO_BF16
    told: list[tuple[str, int, int]] = []
    report = run_parity(
        LOADED, make_bundle(tmp_path / "b"), images, progress=lambda *args: told.append(args)
    )
    assert report.passed
    assert [each.status for each in report.rows] == ["passed", "passed", "skipped"]
    assert report.summary() == "Parity passed: 2 of 2 runs within their gates; 1 skipped"
    assert [(done, total) for _, done, total in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [each.name for each in report.images] == [path.name for path in images]
    found = row(report, "onnx-fp32").detections
    assert found is not None
    assert (found.reference, found.matched) == (6, 6)
    assert report.evidence.detections == 6
    assert report.evidence.strength == "weak"
    assert "3 images with 6 detections" in report.evidence.sentence
    assert report.tools["torch"] == torch.__version__


def test_what_cannot_run_here_is_skipped_with_the_reason(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["openvino-fp32"] = MissingExtraError.for_extra("openvino", "openvino")
    backends["openvino-bf16"] = NO_BF16
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    skipped = row(report, "openvino-fp32", "fp32")
    assert skipped.status == "skipped"
    assert "pip install" in skipped.reasons[0]
    assert skipped.tensor is None
    assert report.passed


def test_nothing_could_be_run_is_a_failure(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    for name, precision in (("ort", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        backends[f"{name}-{precision}"] = MissingExtraError.for_extra(name, name)
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert not report.passed
    assert "nothing could be run" in report.summary()


@pytest.mark.parametrize(
    "names", [{"runtimes": ["openvino"]}, {"precisions": ["fp32"]}, {"precisions": ["bf16"]}]
)
def test_what_was_asked_for_by_name_is_not_skipped(
    tmp_path: Path, images: list[Path], backends: dict[str, Any], names: dict[str, Any]
) -> None:
    backends["openvino-fp32"] = backends["openvino-bf16"] = NO_BF16
    with pytest.raises(DeviceError):
        run_parity(LOADED, make_bundle(tmp_path / "b"), images, **names)


def test_a_runtime_named_without_bf16_skips_bf16(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["openvino-bf16"] = NO_BF16
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images, runtimes=["openvino"])
    assert [each.status for each in report.rows] == ["passed", "skipped"]


def test_another_precision_than_asked_for_is_not_counted_as_it(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    """An allowed fallback runs bf16 as fp32; that proves nothing about bf16."""
    fallback = FakeRuntime.for_spec(SPEC, lambda feeds: {"output0": answer(feeds["images"])})
    backends["openvino-bf16"] = fallback
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert row(report, "openvino-fp32", "bf16").status == "skipped"


def scale_scores(output: NDArray[Any]) -> None:
    output[4:] *= 0.99


def move(output: NDArray[Any]) -> None:
    output[:4] += 2


def spoil(output: NDArray[Any]) -> None:
    output[0, 1] = np.nan


def silence(output: NDArray[Any]) -> None:
    output[4:] = 0


@pytest.mark.parametrize("change", [scale_scores, move, spoil, silence])
def test_a_wrong_model_fails_and_is_explained(
    tmp_path: Path, images: list[Path], backends: dict[str, Any], change: Change
) -> None:
    backends["ort-fp32"] = change
    backends["openvino-bf16"] = NO_BF16
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert not report.passed
    assert "1 of 2" in report.summary()
    bad, good = row(report, "onnx-fp32"), row(report, "openvino-fp32", "fp32")
    assert (bad.status, good.status) == ("failed", "passed")
    assert bad.reasons
    assert bad.attribution is not None
    assert bad.attribution.stage == "graph"
    assert bad.attribution.image in {path.name for path in images}
    assert good.attribution is None


def test_a_score_on_the_other_side_of_the_threshold_is_borderline(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    def raise_third(output: NDArray[Any]) -> None:
        output[5, 2] = 0.2503

    backends["ort-fp16"] = raise_third
    report = run_parity(LOADED, make_bundle(tmp_path / "b", ids=("onnx-fp16",)), images)
    found = row(report, "onnx-fp16").detections
    assert report.passed
    assert found is not None
    assert (found.reference, found.candidate, found.borderline, found.matched) == (6, 9, 3, 9)


@pytest.mark.parametrize("precisions", [None, ["fp16"]])
def test_a_lossy_precision_is_told_from_a_wrong_graph(
    tmp_path: Path, images: list[Path], backends: dict[str, Any], precisions: list[str] | None
) -> None:
    """The fp32 artifact is consulted even when the user compares fp16 alone."""
    backends["ort-fp16"] = move
    bundle = make_bundle(tmp_path / "b", ids=("onnx-fp32", "onnx-fp16"))
    found = row(run_parity(LOADED, bundle, images, precisions=precisions), "onnx-fp16")
    assert found.attribution is not None
    assert found.attribution.stage == "precision"


def test_int8_is_reported_without_a_bar(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["ort-int8"] = scale_scores
    report = run_parity(LOADED, make_bundle(tmp_path / "b", ids=("onnx-int8",)), images)
    found = row(report, "onnx-int8")
    assert found.status == "unjudged"
    assert "not judged by this gate" in found.reasons[0]
    assert found.tensor is not None
    assert found.tensor.score.max == pytest.approx(0.009, rel=1e-3)
    assert "1 not judged by this gate" in report.summary()
    assert not report.passed
    # Documents of before call it passed.
    old = json.loads(msgspec.json.encode(found)) | {"status": "passed", "reasons": []}
    assert msgspec.convert(old, ParityRow).status == "unjudged"


def test_an_artifact_that_does_not_load_fails_alone(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["ort-fp32"] = BackendError("the file is damaged", fix="Export again")
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert row(report, "onnx-fp32").status == "failed"
    assert "damaged" in row(report, "onnx-fp32").reasons[0]
    assert row(report, "openvino-fp32", "fp32").status == "passed"


def failing(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    raise RuntimeError("out of memory")


def meddling(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    output = answer(feeds["images"])
    feeds["images"][...] = 0
    return {"output0": output}


def misshapen(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {"output0": answer(feeds["images"])[:, :, 1:]}


@pytest.mark.parametrize(
    ("function", "why"),
    [(failing, "out of memory"), (meddling, "changed its input"), (misshapen, "described as")],
)
def test_a_backend_that_misbehaves_fails_alone(
    tmp_path: Path, images: list[Path], backends: dict[str, Any], function: Any, why: str
) -> None:
    backends["ort-fp32"] = FakeRuntime.for_spec(SPEC, function)
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    bad = row(report, "onnx-fp32")
    assert bad.status == "failed"
    assert why in " ".join(bad.reasons)
    assert row(report, "openvino-fp32", "fp32").status == "passed"


def test_a_graph_of_another_shape_fails(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["ort-fp32"] = FakeRuntime.for_spec(
        two_class_spec(class_names=("a", "b", "c")), failing
    )
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert row(report, "onnx-fp32").status == "failed"


def test_a_description_inside_the_file_that_differs_fails(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    backends["spec"] = two_class_spec(class_names=("dog", "cat"))
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), images)
    assert all(each.status == "failed" for each in report.rows)
    assert "description inside" in report.rows[0].reasons[0]


def test_a_bundle_that_describes_its_input_wrongly_fails(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    spec = two_class_spec(input=msgspec.structs.replace(SPEC.input, pad_value=0))
    backends["spec"] = spec
    backends["openvino-bf16"] = NO_BF16
    report = run_parity(LOADED, make_bundle(tmp_path / "b", spec), images)
    assert not report.passed
    found = row(report, "onnx-fp32").attribution
    assert found is not None
    assert found.stage == "preprocess"


def test_a_changed_file_is_refused(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    bundle = make_bundle(tmp_path / "b")
    (bundle.path / "onnx-fp32.bin").write_bytes(b"other weights")
    with pytest.raises(BundleError, match="changed after"):
        run_parity(LOADED, bundle, images)


def test_an_artifact_that_no_runtime_opens_is_listed(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    bundle = make_bundle(tmp_path / "b", ids=("onnx-fp32", "coreml-fp16"))
    report = run_parity(LOADED, bundle, images)
    assert row(report, "coreml-fp16").status == "skipped"
    assert report.passed


def test_another_checkpoint_is_a_warning(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    other = replace(LOADED, source=Source(file="other.pt", sha256="1" * 64))
    report = run_parity(other, make_bundle(tmp_path / "b"), images)
    assert "other.pt" in report.warnings[0]
    assert not run_parity(LOADED, make_bundle(tmp_path / "c"), images).warnings


def test_a_branch_that_the_checkpoint_lacks_is_refused(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    net = Net()
    net.head = SimpleNamespace(has_one2one=False, has_one2many=True)  # type: ignore[assignment]
    head = HeadSpec(decoder="one2one", strides=SPEC.head.strides, branch="one2one")
    bundle = make_bundle(tmp_path / "b", two_class_spec(head=head))
    with pytest.raises(UsageError, match="one2one"):
        run_parity(replace(LOADED, net=net), bundle, images)


def test_without_images_the_demo_scenes_are_weak_evidence(
    tmp_path: Path, backends: dict[str, Any]
) -> None:
    report = run_parity(LOADED, make_bundle(tmp_path / "b"))
    assert report.passed
    assert (report.evidence.source, report.evidence.strength) == ("demo", "weak")
    assert "demo scenes" in report.evidence.sentence
    assert len(report.images) == report.evidence.images > 0


def test_a_model_that_finds_nothing_is_judged_by_its_best_anchors(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    def whisper(output: NDArray[Any]) -> None:
        output[4:] *= 0.01

    class Quiet(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(answer(x.numpy(), whisper))

    quiet = replace(LOADED, net=Quiet().eval())
    bundle = make_bundle(tmp_path / "b", ids=("onnx-fp16",))
    for change, passed in ((whisper, True), (silence, False)):
        backends["ort-fp16"] = change
        report = run_parity(quiet, bundle, images)
        figures = row(report, "onnx-fp16").tensor
        assert report.passed is passed
        assert figures is not None
        assert figures.selection == "top 100"
        assert report.evidence.strength == "weak"


def test_silence_on_both_sides_never_passes(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    class Silent(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(answer(x.numpy(), silence))

    backends["ort-fp32"] = silence
    bundle = make_bundle(tmp_path / "b", ids=("onnx-fp32",))
    report = run_parity(replace(LOADED, net=Silent().eval()), bundle, images)
    assert not report.passed
    assert "nothing was compared" in row(report, "onnx-fp32").reasons[0]


def test_two_files_of_one_name_are_told_apart(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / images[0].name
    namesake.write_bytes(images[1].read_bytes())
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), [images[0], namesake])
    assert [each.name for each in report.images] == ["0.png", "0.png (2)"]
    assert report.images[0].sha256 != report.images[1].sha256


def test_a_bundle_stores_the_verdict(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    bundle = make_bundle(tmp_path / "b")
    report = run_parity(LOADED, bundle, images)
    assert evidence_of(bundle) == {}
    bundle.with_evidence(report).save()
    stored = evidence_of(Bundle.read(bundle.path))["parity"]
    assert stored["passed"] is report.passed is True
    assert ParityReport.from_document(stored) == report
    assert str(tmp_path) not in json.dumps(stored), "no folder of this machine"


# Real models.


@needs_assets
@pytest.mark.parametrize("name", ["ghost", "ghostnet"])
def test_real_bundles_pass(name: str, request: pytest.FixtureRequest) -> None:
    proof: ExportedCheckpoint = request.getfixturevalue(name)
    before = {key: value.clone() for key, value in proof.loaded.net.state_dict().items()}
    options = RuntimeOptions(threads=1)
    report = run_parity(proof.loaded, proof.bundle, val_images()[:8], options=options)
    assert report.passed, [(each.artifact, each.reasons) for each in report.rows]
    done = [each for each in report.rows if each.precision != "bf16"]
    ran = {(each.runtime, each.artifact) for each in done if each.status == "passed"}
    assert ran == {
        (runtime, f"{form}-{precision}")
        for runtime, form in (("ort", "onnx"), ("openvino", "openvino"))
        for precision in ("fp32", "fp16")
    }
    (bf16,) = (each for each in report.rows if each.precision == "bf16")
    assert bf16.status == ("passed" if HAS_BF16 else "skipped")
    assert report.evidence.detections > 100
    after = proof.loaded.net.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ghost", "ghostnet"])
def test_real_bundles_pass_on_all_images(name: str, request: pytest.FixtureRequest) -> None:
    proof: ExportedCheckpoint = request.getfixturevalue(name)
    report = run_parity(proof.loaded, proof.bundle, val_images())
    assert report.passed, [(each.artifact, each.reasons) for each in report.rows]
    assert report.evidence.strength == "good"


@needs_assets
def test_demo_scenes_on_a_real_bundle(ghost: ExportedCheckpoint) -> None:
    report = run_parity(ghost.loaded, ghost.bundle, runtimes=["ort"])
    assert report.passed
    assert report.evidence.strength == "weak"


@needs_assets
def test_one_wrong_weight_is_found(ghost: ExportedCheckpoint, tmp_path: Path) -> None:
    """The gate is no formality: two per cent on one convolution fail it."""
    import onnx
    from onnx import numpy_helper

    source = ghost.bundle.verified_path(ghost.bundle.artifact("onnx", "fp32"))
    graph = onnx.load(source)
    weight = next(t for t in graph.graph.initializer if len(t.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.02, weight.name))
    with BundleWriter(tmp_path / "b") as writer:
        path = writer.folder / "model.onnx"
        path.write_bytes(graph.SerializeToString())
        writer.add(format="onnx", precision="fp32", path=path, parent="0" * 64, tools={})
        writer.draft(ghost.bundle.spec, ghost.loaded.source, "test")
        bundle = writer.finish()
    report = run_parity(ghost.loaded, bundle, val_images()[:2])
    (found,) = report.rows
    assert found.status == "failed"
    assert found.attribution is not None
    assert found.attribution.stage == "graph"


@needs_assets
def test_a_dynamic_bundle_is_compared_over_its_range(
    ghost: ExportedCheckpoint, tmp_path: Path
) -> None:
    from ghost_deploy.export.artifacts import export_artifacts
    from ghost_deploy.export.plan import plan_export

    sizes = {"batch": (1, 4), "min_hw": (320, 320), "max_hw": (448, 448)}
    old = ghost.loaded.spec
    spec = msgspec.structs.replace(old, input=msgspec.structs.replace(old.input, **sizes))
    with BundleWriter(tmp_path / "b") as writer:
        graphs = plan_export(["onnx"], ["fp32"]).graphs
        export_artifacts(ghost.loaded, spec, graphs, writer)
        writer.draft(spec, ghost.loaded.source, "test")
        bundle = writer.finish()
    report = run_parity(ghost.loaded, bundle, val_images()[:3])
    assert report.passed, report.rows[0].reasons
    assert report.sizes_hw == ((416, 416), (320, 320), (448, 448))


def test_a_bundle_that_names_the_classes_otherwise_fails(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    """The numbers are the same; only the names tell that the order is another one."""
    spec = two_class_spec(class_names=tuple(reversed(SPEC.class_names)))
    backends["spec"] = spec
    backends["openvino-bf16"] = NO_BF16
    report = run_parity(LOADED, make_bundle(tmp_path / "b", spec), images)
    assert not report.passed
    right, wrong = SPEC.class_names[0], spec.class_names[0]
    assert row(report, "onnx-fp32").reasons == (
        f"class 0 is {right!r} in the checkpoint and {wrong!r} in the bundle",
    )


def test_an_image_whose_name_is_not_utf8_can_be_reported(
    tmp_path: Path, images: list[Path], backends: dict[str, Any]
) -> None:
    odd = images[0].rename(images[0].with_name(os.fsdecode(b"b\xff.png")))
    report = run_parity(LOADED, make_bundle(tmp_path / "b"), [odd])
    assert b"b\\ufffd" in json.dumps(report.to_document()).encode()
