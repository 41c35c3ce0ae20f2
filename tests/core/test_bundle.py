"""Bundles: whole or not at all, and never silently changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ghost_deploy.core.bundle import DOCUMENT, Bundle, BundleWriter, Source, file_name, sha256_of
from ghost_deploy.core.errors import BundleError, ExportError, UsageError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from tests.support.stored_evidence import evidence_of, with_plain_evidence

SPEC = ModelSpec(
    name="toy",
    family="yolov8-ghost",
    class_names=("a", "b"),
    input=InputSpec(size_hw=(64, 96)),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)
SOURCE = Source(file="toy.pt", sha256="0" * 64)


def write(target: Path, *, overwrite: bool = False, content: bytes = b"weights") -> Bundle:
    with BundleWriter(target, overwrite=overwrite) as writer:
        file = writer.folder / "model.fp32.onnx"
        file.write_bytes(content)
        writer.add(
            format="onnx", precision="fp32", path=file, parent=SOURCE.sha256, tools={"onnx": "1"}
        )
        writer.draft(SPEC, SOURCE, "ghost-deploy test")
        return writer.finish()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder", "a folder of others"])
def test_reading_what_is_no_bundle(tmp_path: Path, what: str) -> None:
    target = tmp_path / "x"
    if what == "a file":
        target.write_text("hello")
    elif what != "nothing":
        target.mkdir()
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.read(target)


def test_round_trip(tmp_path: Path) -> None:
    written = write(tmp_path / "out")
    read = Bundle.read(tmp_path / "out" / "bundle.json", verify=True)
    assert read.document == written.document
    assert read.spec == SPEC
    artifact = read.artifact("onnx", "fp32")
    assert read.verified_path(artifact).read_bytes() == b"weights"
    assert leftovers(tmp_path) == []


def sparse(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(100 << 30)


SPECIAL_FILES: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a device that never ends": lambda file: file.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to itself": lambda file: file.symlink_to(file.name),
    "100 GiB without content": sparse,
}


@pytest.mark.parametrize("kind", SPECIAL_FILES)
@pytest.mark.parametrize("name", ["bundle.json", "model.fp32.onnx"])
def test_a_special_or_huge_file_is_refused_unread(tmp_path: Path, kind: str, name: str) -> None:
    bundle = write(tmp_path / "out")
    (bundle.path / name).unlink()
    SPECIAL_FILES[kind](bundle.path / name)
    with pytest.raises(BundleError) as caught:
        Bundle.read(bundle.path, verify=True)
    assert name in str(caught.value)


def test_a_huge_file_is_refused_unread_where_its_size_was_not_recorded(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    document = json.loads((bundle.path / "bundle.json").read_text())
    del document["artifacts"][0]["sizes"]
    (bundle.path / "bundle.json").write_text(json.dumps(document))
    assert Bundle.read(bundle.path, verify=True).spec == SPEC
    sparse(bundle.path / "model.fp32.onnx")
    with pytest.raises(BundleError, match="at most"):
        Bundle.read(bundle.path, verify=True)


@pytest.mark.parametrize(
    ("count", "files", "message"),
    [(257, 1, "at most 256 artifacts"), (1, 65, "66 files, not a model's")],
)
def test_a_document_that_lists_too_much(
    tmp_path: Path, count: int, files: int, message: str
) -> None:
    bundle = write(tmp_path / "out")
    document = json.loads((bundle.path / "bundle.json").read_text())
    (first,) = document["artifacts"]
    more = {f"extra{i}": "0" * 64 for i in range(files)}
    document["artifacts"] = [
        {**first, "form": f"f{i}", "files": first["files"] | more} for i in range(count)
    ]
    (bundle.path / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=message):
        Bundle.read(bundle.path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_system_takes(tmp_path: Path, name: str) -> None:
    bundle = write(tmp_path / "out")
    document = json.loads((bundle.path / "bundle.json").read_text())
    document["artifacts"][0] |= {"path": name, "files": {name: "0" * 64}, "sizes": {}}
    (bundle.path / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="lacks"):
        Bundle.read(bundle.path)


def test_an_absent_artifact_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="onnx-fp32"):
        write(tmp_path / "out").artifact("openvino", "fp16")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    (bundle.path / "model.fp32.onnx").write_bytes(b"weightz")
    assert Bundle.read(bundle.path).spec == SPEC
    with pytest.raises(BundleError, match="was changed"):
        Bundle.read(bundle.path, verify=True)
    with pytest.raises(BundleError, match="was changed"):
        bundle.verified_path(bundle.artifacts[0])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    (bundle.path / "model.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks model\.fp32\.onnx"):
        Bundle.read(bundle.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 1"),
        ({"surprise": 1}, "surprise"),
        ({"artifacts": "x"}, "artifacts"),
        ({"spec": {}}, "missing required field"),
    ],
)
def test_a_foreign_document_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    bundle = write(tmp_path / "out")
    file = bundle.path / "bundle.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(BundleError, match=message):
        Bundle.read(bundle.path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../b", ""])
def test_a_path_that_leaves_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    bundle = write(tmp_path / "out")
    file = bundle.path / "bundle.json"
    document = json.loads(file.read_text())
    document["artifacts"][0]["path"] = name
    file.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="must stay inside"):
        Bundle.read(bundle.path)


def test_truncated_json_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    file = bundle.path / "bundle.json"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BundleError, match="cannot be used"):
        Bundle.read(bundle.path)


def test_an_existing_bundle_is_replaced_only_on_request(tmp_path: Path) -> None:
    write(tmp_path / "out")
    with pytest.raises(UsageError, match="--overwrite"):
        write(tmp_path / "out", content=b"new")
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == b"weights"
    write(tmp_path / "out", content=b"new", overwrite=True)
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == b"new"
    assert leftovers(tmp_path) == []


def test_a_folder_of_others_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "images"
    target.mkdir()
    (target / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a bundle"):
        write(target, overwrite=True)
    assert (target / "holiday.jpg").read_bytes() == b"x"


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with BundleWriter(tmp_path / "out") as writer:
            (writer.folder / "half").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_export_error_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with BundleWriter(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match=r"No space left.*Free some space"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_target_below_a_file_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises((ExportError, UsageError)):
        write(tmp_path / "file" / "out")


def test_evidence_is_kept_and_saved_atomically(tmp_path: Path) -> None:
    bundle = with_plain_evidence(write(tmp_path / "out"), {"parity": {"passed": True}})
    bundle.save()
    assert evidence_of(Bundle.read(bundle.path)) == {"parity": {"passed": True}}
    assert leftovers(bundle.path) == []


def test_saving_into_a_vanished_folder_says_so(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    moved = tmp_path / "gone"
    bundle.path.rename(moved)
    with pytest.raises(BundleError, match="cannot write"):
        bundle.save()
    assert (moved / "bundle.json").is_file()


def test_sha256(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert sha256_of(file).startswith("ba7816bf")


def test_a_model_file_without_a_hash_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    document = json.loads((bundle.path / DOCUMENT).read_text())
    document["artifacts"][0]["files"] = {}
    (bundle.path / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(BundleError, match="not among the files that have a hash"):
        Bundle.read(bundle.path)


@pytest.mark.parametrize("evidence", ["passed", [1], None, 3])
def test_evidence_that_is_no_document_is_refused(tmp_path: Path, evidence: object) -> None:
    bundle = write(tmp_path / "out")
    document = json.loads((bundle.path / DOCUMENT).read_text())
    document["evidence"] = {"parity": evidence}
    (bundle.path / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(BundleError, match="cannot be used"):
        Bundle.read(bundle.path)


def test_a_bundle_that_came_in_between_is_not_replaced(tmp_path: Path) -> None:
    """Two exports to one place at once: the second to finish says so."""
    with BundleWriter(tmp_path / "out") as late:
        write(tmp_path / "out", content=b"first")
        late.draft(SPEC, SOURCE, "ghost-deploy test")
        with pytest.raises(UsageError, match="exists already"):
            late.finish()
    kept = Bundle.read(tmp_path / "out", verify=True)
    assert kept.verified_path(kept.artifacts[0]).read_bytes() == b"first"
    assert leftovers(tmp_path) == []


def test_folders_made_for_a_bundle_that_failed_are_taken_away(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError),
        BundleWriter(tmp_path / "new" / "newer" / "out"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_bundle_behind_a_link_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    write(tmp_path / "link", overwrite=True, content=b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_folder_that_no_backend_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a name that every backend can open"):
        BundleWriter(tmp_path / os.fsdecode(b"out\xff"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_is_text_that_json_can_hold() -> None:
    assert file_name(os.fsdecode(b"/somewhere/b\xff.pt")) == "b\N{REPLACEMENT CHARACTER}.pt"
    assert file_name("Zell\u00e4.pt") == "Zell\u00e4.pt"


def test_a_document_nested_beyond_measure_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    file = bundle.path / DOCUMENT
    nested = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    text = json.dumps({**json.loads(file.read_text()), "evidence": {"parity": 0}})
    file.write_text(text.replace('"parity": 0', f'"parity": {nested}'))
    with pytest.raises(BundleError, match="cannot be used"):
        Bundle.read(bundle.path)


def test_an_artifact_is_put_beside_those_of_a_bundle(tmp_path: Path) -> None:
    old = with_plain_evidence(write(tmp_path / "b"), {"parity": {"schema": 1}})
    with BundleWriter(old.path, overwrite=True) as writer:
        writer.adopt(old)
        file = writer.folder / "model.int8.onnx"
        file.write_bytes(b"int8")
        writer.add(format="onnx", precision="int8", path=file, parent="0", tools={}, form="ort-x86")
        writer.draft(SPEC, SOURCE, "test", evidence=old.evidence)
        new = writer.finish()
    assert [artifact.id for artifact in new.artifacts] == ["onnx-fp32", "onnx-int8-ort-x86"]
    assert [new.verified_path(each).read_bytes() for each in new.artifacts] == [b"weights", b"int8"]
    assert evidence_of(new) == {"parity": {"schema": 1}}
    assert leftovers(tmp_path) == []


def with_int8(folder: Path, format: str, *forms: str) -> Bundle:
    """A bundle with int8 artifacts of a format besides its fp32 file."""
    old = write(folder)
    with BundleWriter(old.path, overwrite=True) as writer:
        writer.adopt(old)
        for number, form in enumerate(forms):
            file = writer.folder / f"int8.{number}"
            file.write_bytes(form.encode())
            writer.add(format=format, precision="int8", path=file, parent="0", tools={}, form=form)
        writer.draft(SPEC, SOURCE, "test")
        return writer.finish()


def test_the_only_int8_form_of_a_format_needs_no_name(tmp_path: Path) -> None:
    bundle = with_int8(tmp_path / "b", "openvino", "openvino", "openvino+nncf")
    assert bundle.artifact("openvino", "int8").form == "openvino"
    assert bundle.artifact("openvino", "int8", "openvino+nncf").form == "openvino+nncf"
    with pytest.raises(BundleError, match="no openvino artifact in int8 of the form ort-x86"):
        bundle.artifact("openvino", "int8", "ort-x86")


def test_of_several_int8_forms_one_must_be_named(tmp_path: Path) -> None:
    bundle = with_int8(tmp_path / "b", "onnx", "ort-x86", "tensorrt")
    with pytest.raises(BundleError, match="has several onnx artifacts in int8") as caught:
        bundle.artifact("onnx", "int8")
    assert caught.value.got == "onnx-int8-ort-x86, onnx-int8-tensorrt"
    assert caught.value.expected == "one of ort-x86, tensorrt"
    assert bundle.artifact("onnx", "int8", "tensorrt").form == "tensorrt"
    assert bundle.artifact("onnx", "fp32").form == ""


def test_an_artifact_made_anew_is_not_adopted(tmp_path: Path) -> None:
    old = write(tmp_path / "b")
    with BundleWriter(old.path, overwrite=True) as writer:
        writer.adopt(old, without=["onnx-fp32"])
        assert list(writer.folder.iterdir()) == []
    assert Bundle.read(old.path, verify=True).artifacts == old.artifacts


def test_a_changed_file_is_not_adopted(tmp_path: Path) -> None:
    old = write(tmp_path / "b")
    (old.path / "model.fp32.onnx").write_bytes(b"other")
    with (
        BundleWriter(old.path, overwrite=True) as writer,
        pytest.raises(BundleError, match="changed"),
    ):
        writer.adopt(old)


def test_a_file_of_the_evidence_comes_along(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    (bundle.path / "reference.npz").write_bytes(b"images")
    note = {"file": "reference.npz", "sha256": sha256_of(bundle.path / "reference.npz")}
    with_plain_evidence(bundle, {"reference": note}).save()
    bundle = Bundle.read(bundle.path)
    assert bundle.evidence_files() == ("reference.npz",)
    with BundleWriter(bundle.path, overwrite=True) as writer:
        writer.adopt(bundle)
        writer.draft(bundle.spec, bundle.document.source, "t", bundle.evidence)
        after = writer.finish()
    assert (after.path / "reference.npz").read_bytes() == b"images"


@pytest.mark.parametrize("name", ["absent.npz", "../secret", "model.fp32.onnx"])
def test_a_file_that_the_evidence_names_wrongly(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    note = {"file": name, "sha256": "0" * 64}
    bundle = with_plain_evidence(write(tmp_path / "out"), {"reference": note})
    with pytest.raises(BundleError, match="not the file"):
        bundle.evidence_files()
