"""Parity without torch: what is stored in a bundle, and what is made of it on a device."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ghost_deploy.core.bundle import Bundle, BundleWriter, sha256_of
from ghost_deploy.core.errors import BundleError, UnavailableError
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.judge.parity.prove import run_parity
from ghost_deploy.judge.parity.self_check import self_check, with_row
from ghost_deploy.judge.parity.store_reference import store_reference
from ghost_deploy.judge.parity.stored_reference import StoredImage, StoredReference, read_stored
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.assets import needs_assets, val_images
from tests.support.exports import ExportedCheckpoint
from tests.support.stored_evidence import evidence_of, with_plain_evidence

SPEC = ModelSpec(
    name="toy",
    family="t",
    class_names=("a", "b"),
    input=InputSpec(size_hw=(64, 96)),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)
HUGE = np.full(100, 127, np.uint8)
ANCHORS = SPEC.head.anchors((64, 96))


def make_reference(*, end_to_end: bool = False) -> StoredReference:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    if end_to_end:
        head = HeadSpec(decoder="one2one", branch="one2one", strides=(8, 16, 32))
        output = random.random((1, 30, 6), np.float32)
        return StoredReference(
            msgspec.structs.replace(SPEC, head=head), (StoredImage("p", image, "d", output),)
        )
    output = random.random((1, 6, ANCHORS), np.float32)
    output[0, 4:] *= np.float32(1e-4)
    output[0, 4, 7] = 0.9
    return StoredReference(SPEC, (StoredImage("p", image, "d", output),))


@pytest.mark.parametrize("end_to_end", [False, True])
def test_written_and_read(end_to_end: bool, tmp_path: Path) -> None:
    reference = make_reference(end_to_end=end_to_end)
    for name in ("a.npz", "b.npz"):
        reference.write(tmp_path / name)
    data = (tmp_path / "a.npz").read_bytes()
    assert data == (tmp_path / "b.npz").read_bytes()
    found = StoredReference.read(data, where="a")
    (before,), (after,) = reference.images, found.images
    assert found.spec == reference.spec
    assert (after.name, after.tensor_sha256) == (before.name, before.tensor_sha256)
    np.testing.assert_array_equal(after.pixels, before.pixels)
    np.testing.assert_array_equal(after.output, before.output)


def test_faint_anchors_are_left_out(tmp_path: Path) -> None:
    image = np.zeros((320, 320, 3), np.uint8)
    spec = msgspec.structs.replace(SPEC, input=InputSpec(size_hw=(320, 320)))
    output = np.full((1, 6, spec.head.anchors((320, 320))), 1e-5, np.float32)
    loud = [3, 1000, 2000]
    output[0, 5, loud] = 0.002
    StoredReference(spec, (StoredImage("p", image, "d", output),)).write(tmp_path / "a.npz")
    (found,) = StoredReference.read((tmp_path / "a.npz").read_bytes(), where="a").images
    assert found.output.shape == output.shape
    kept = np.flatnonzero(found.output[0, 5])
    assert 200 <= len(kept) <= 200 + 3 * 16, "the best of a quiet image, and of each map"
    assert {0, 15, 1600, 1615, 2001, 2015} <= set(kept)
    assert set(loud) <= set(kept)
    np.testing.assert_array_equal(found.output[..., kept], output[..., kept])


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "no zip", "no spec", "no image", "huge image", "huge output"]
)
def test_a_damaged_file(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    make_reference().write(path)
    data = path.read_bytes()
    if damage == "no spec":
        np.savez(path, image_0=np.zeros(3, np.uint8))
        data = path.read_bytes()
    elif " " in damage and damage != "no zip":
        arrays = dict(np.load(path))
        arrays |= {
            "no image": {"image_0": np.zeros(100, np.uint8)},
            "huge image": {"image_0": np.concatenate((arrays["image_0"][:16], HUGE))},
            "huge output": {"shape_0": np.array((1, 1 << 20, 1 << 20))},
        }[damage]
        np.savez(path, **arrays)
        data = path.read_bytes()
    else:
        data = {"empty": b"", "cut": data[: len(data) // 2], "no zip": b"x" * 100}[damage]
    with pytest.raises(BundleError, match="cannot be read"):
        StoredReference.read(data, where="a")


LYING = {
    "huge": "{'descr': '|u1', 'fortran_order': False, 'shape': (40000000000,)}",
    "larger": "{'descr': '|u1', 'fortran_order': False, 'shape': (101,)}",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -100)}",
    "no number": "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 100)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (12,)}",
    "nothing": "{'descr': '|V0', 'fortran_order': False, 'shape': (100,)}",
    "no header": "[]",
    "deep": "(" * 200 + ")" * 200,
}


@pytest.mark.parametrize("header", LYING.values(), ids=LYING)
def test_an_array_that_is_not_what_its_header_says(header: str) -> None:
    written = header.encode() + b"\n"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        size = len(written).to_bytes(2, "little")
        archive.writestr("spec.npy", b"\x93NUMPY\x01\x00" + size + written + bytes(100))
    with pytest.raises(BundleError, match="cannot be read"):
        StoredReference.read(data.getvalue(), where="a")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression(method: int, tmp_path: Path) -> None:
    """Their decoders raise errors of their own."""
    make_reference().write(tmp_path / "a.npz")
    data = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "a.npz") as before, zipfile.ZipFile(data, "w", method) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    with pytest.raises(BundleError, match="compressed in another way"):
        StoredReference.read(data.getvalue(), where="a")


@pytest.fixture(scope="module")
def carried(ghost: ExportedCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The real bundle with parity evidence and a reference, in a folder of its own."""
    folder = tmp_path_factory.mktemp("carried") / "bundle"
    shutil.copytree(ghost.bundle.path, folder)
    bundle = Bundle.read(folder)
    bundle = bundle.with_evidence(run_parity(ghost.loaded, bundle, val_images()[:1]))
    bundle = store_reference(ghost.loaded, bundle, val_images()[:5])
    bundle.save()
    return bundle


@needs_assets
def test_the_reference_is_small_and_named(carried: Bundle) -> None:
    note = evidence_of(carried)["reference"]
    path = carried.path / note["file"]
    assert note["sha256"] == sha256_of(path)
    assert (note["pictures"], note["source"]) == (5, "images")
    assert path.stat().st_size < 3 << 20
    found = read_stored(carried)
    assert found is not None
    assert all(image.pixels.shape == (416, 416, 3) for image in found.images)


@needs_assets
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_real_artifacts_pass(precision: str, carried: Bundle) -> None:
    artifact = carried.artifact("onnx", precision)
    row = self_check(carried, artifact, "ort", RuntimeOptions())
    assert row is not None
    assert (row.status, row.reasons) == ("passed", ())
    assert row.tensor is not None
    assert row.detections is not None
    assert row.tensor.compared > 100
    assert row.detections.reference > 20
    assert "5 images" in row.notes[-1]
    told = ParityReport.from_document(evidence_of(with_row(carried, row))["parity"])
    assert sum(each.artifact == artifact.id for each in told.rows) == 1
    assert len(told.rows) == len(evidence_of(carried)["parity"]["rows"])


@needs_assets
def test_another_model_fails(carried: Bundle, ghostnet: ExportedCheckpoint, tmp_path: Path) -> None:
    """The description fits, the numbers are another network's."""
    wrong = ghostnet.bundle.artifact("onnx", "fp32")
    folder = tmp_path / "wrong"
    with BundleWriter(folder) as writer:
        for name in wrong.files:
            shutil.copy(ghostnet.bundle.path / name, writer.folder / name)
        shutil.copy(carried.path / "reference.npz", writer.folder)
        writer.add(
            format="onnx",
            precision="fp32",
            path=writer.folder / wrong.path,
            parent=wrong.parent,
            tools={},
        )
        writer.draft(ghostnet.bundle.spec, carried.document.source, "t", carried.evidence)
        bundle = writer.finish()
    row = self_check(bundle, bundle.artifacts[0], "ort", RuntimeOptions())
    assert row is not None
    assert row.status == "failed"
    assert any("score difference" in reason for reason in row.reasons)


@needs_assets
def test_another_preprocessing_is_seen(carried: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_stored(carried)
    assert found is not None
    strange = StoredReference(
        found.spec,
        tuple(
            StoredImage(image.name, image.pixels, "0" * 64, image.output) for image in found.images
        ),
    )
    monkeypatch.setattr("ghost_deploy.judge.parity.self_check.read_stored", lambda bundle: strange)
    row = self_check(carried, carried.artifact("onnx", "fp32"), "ort", RuntimeOptions())
    assert row is not None
    assert row.status == "failed"
    assert "preprocessing" in row.reasons[0]


@needs_assets
def test_what_this_machine_cannot_run(carried: Bundle) -> None:
    artifact = carried.artifact("onnx", "fp32")
    with pytest.raises(UnavailableError):
        self_check(carried, artifact, "ort", RuntimeOptions(device="cuda"))


@needs_assets
def test_a_bundle_without_a_reference(ghost: ExportedCheckpoint) -> None:
    artifact = ghost.bundle.artifact("onnx", "fp32")
    assert self_check(ghost.bundle, artifact, "ort", RuntimeOptions()) is None


@needs_assets
@pytest.mark.parametrize("change", ["content", "gone", "outside"])
def test_a_reference_that_was_changed(change: str, carried: Bundle, tmp_path: Path) -> None:
    shutil.copytree(carried.path, tmp_path / "b")
    bundle = Bundle.read(tmp_path / "b")
    path = bundle.path / "reference.npz"
    if change == "content":
        path.write_bytes(path.read_bytes() + b"x")
    elif change == "gone":
        path.unlink()
    else:
        note = {**evidence_of(bundle)["reference"], "file": "../reference.npz"}
        bundle = with_plain_evidence(bundle, {"reference": note})
        shutil.copy(path, tmp_path)
    with pytest.raises(BundleError, match=r"reference\.npz"):
        self_check(bundle, bundle.artifacts[0], "ort", RuntimeOptions())


@needs_assets
def test_no_torch_is_needed(carried: Bundle) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.judge.parity.self_check import self_check
bundle = Bundle.read({str(carried.path)!r})
print(self_check(bundle, bundle.artifact("onnx", "fp32"), "ort", RuntimeOptions()).status)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "passed"
