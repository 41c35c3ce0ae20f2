from __future__ import annotations

from pathlib import Path

import onnx
import openvino
import pytest

from ghost_deploy.core.bundle import Bundle, BundleWriter, sha256_of
from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export import artifacts as float_artifacts
from ghost_deploy.export.targets import TARGETS
from ghost_deploy.models.flops import gflops
from tests.support.exports import export_artifacts
from tests.support.tiny_detectors import tiny_loaded, tiny_spec


def spec_in(path: Path) -> ModelSpec:
    """The description that an artifact carries."""
    if path.suffix == ".onnx":
        properties = {item.key: item.value for item in onnx.load(path).metadata_props}
        return ModelSpec.from_json(properties[ModelSpec.Json])
    model = openvino.Core().read_model(path)
    return ModelSpec.from_json(model.get_rt_info([ModelSpec.Json]).astype(str))


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    loaded = tiny_loaded()
    with BundleWriter(tmp_path_factory.mktemp("run") / "out") as writer:
        lines: list[str] = []
        spec, artifacts = export_artifacts(
            loaded, writer, size_hw=(64, 96), progress=lambda what, *_: lines.append(what)
        )
        assert lines == ["ONNX fp32", "ONNX fp16", "OpenVINO fp32", "OpenVINO fp16"]
        bundle = writer.draft(spec, loaded.source, "test")
        assert list(bundle.artifacts) == artifacts
        return writer.finish()


def test_every_file_is_recorded(bundle: Bundle) -> None:
    assert [artifact.id for artifact in bundle.artifacts] == [
        "onnx-fp32",
        "onnx-fp16",
        "openvino-fp32",
        "openvino-fp16",
    ]
    recorded = [name for artifact in bundle.artifacts for name in artifact.files]
    assert files_in(bundle.path) == sorted([*recorded, "bundle.json"])
    Bundle.read(bundle.path, verify=True)


def test_lineage(bundle: Bundle) -> None:
    source = bundle.document.source.sha256
    full = bundle.artifact("onnx", "fp32")
    assert full.parent == bundle.artifact("onnx", "fp16").parent == source
    for precision in ("fp32", "fp16"):
        made = bundle.artifact("openvino", precision)
        assert made.parent == full.files[full.path]
        assert {"ghost-deploy", "torch", "onnx", "onnxsim", "openvino"} <= made.tools.keys()
        assert made.options == {"decoder": "dfl", "size": "64x96"}


def test_every_artifact_carries_the_same_spec(bundle: Bundle) -> None:
    for artifact in bundle.artifacts:
        assert spec_in(bundle.verified_path(artifact)) == bundle.spec
    assert bundle.spec.input.size_hw == (64, 96)
    assert bundle.spec.gflops == gflops(tiny_loaded().net, (64, 96))


def test_nothing_of_this_machine_is_in_the_files(bundle: Bundle) -> None:
    for name in files_in(bundle.path):
        content = (bundle.path / name).read_bytes()
        assert str(bundle.path.parent).encode() not in content, name
        assert b"DIR/" not in content, name


def test_openvino_alone_keeps_the_hash_of_its_onnx(bundle: Bundle, tmp_path: Path) -> None:
    loaded = tiny_loaded()
    with BundleWriter(tmp_path / "out") as writer:
        _, (made,) = export_artifacts(
            loaded, writer, formats=["openvino"], precisions=["fp16"], size_hw=(64, 96)
        )
        assert files_in(writer.folder) == sorted(made.files)
    full = bundle.artifact("onnx", "fp32")
    assert made.parent == full.files[full.path]
    again = bundle.artifact("openvino", "fp16")
    assert made.files == again.files, "two exports give equal bytes"


def test_dynamic_ranges_reach_every_artifact(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    with BundleWriter(tmp_path / "out") as writer:
        spec, artifacts = export_artifacts(loaded, writer, precisions=["fp32"], dynamic=True)
        assert (spec.input.batch, spec.input.min_hw) == ((1, 16), (48, 64))
        for artifact in artifacts:
            assert spec_in(writer.folder / artifact.path) == spec
            assert artifact.options["sizes"] == "48x64 to 192x256"


def test_one2one_is_the_default_of_such_a_checkpoint(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "out") as writer:
        spec, _ = export_artifacts(
            tiny_loaded(one2one=True), writer, formats=["openvino"], precisions=["fp32"]
        )
    assert spec.head.end_to_end


def test_wrong_use_writes_nothing(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "out") as writer:
        with pytest.raises(UsageError, match="112x128"):
            export_artifacts(tiny_loaded(), writer, size_hw=(100, 128))
        with pytest.raises(UsageError, match="no one2one branch"):
            float_artifacts.export_artifacts(
                tiny_loaded(), tiny_spec(one2one=True), TARGETS[:1], writer
            )
        with pytest.raises(UsageError, match="--calib"):
            export_artifacts(tiny_loaded(), writer, precisions=["int8"])
        assert files_in(writer.folder) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_disk_that_refuses_leaves_nothing(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def refuse_as_openvino(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    if format == "onnx":
        monkeypatch.setattr(Path, "write_bytes", refuse)
    else:
        monkeypatch.setattr(openvino, "save_model", refuse_as_openvino)
    with (
        pytest.raises(ExportError, match="space"),
        BundleWriter(tmp_path / "out") as writer,
    ):
        export_artifacts(tiny_loaded(), writer, formats=[format], precisions=["fp32"])
    assert list(tmp_path.iterdir()) == []


def test_the_parent_is_what_was_converted(bundle: Bundle) -> None:
    full = bundle.artifact("onnx", "fp32")
    assert sha256_of(bundle.path / full.path) == bundle.artifact("openvino", "fp32").parent
