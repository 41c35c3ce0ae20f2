"""A small bundle with an fp32 and an int8 artifact that carries the outputs of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

import ghost_deploy as gd
from ghost_deploy.calib.forms import int8_form
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.judge.parity.store_reference import store_int8_outputs
from ghost_deploy.judge.parity.stored_reference import read_stored
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.int8_forms import ort_form
from tests.support.int8_forms import quantize
from tests.support.small_graphs import statistics_of

SIDE = 160
"""Input size: small, and the embedded detector still finds most objects of its scenes."""


def checked_bundle(
    folder: Path,
    forms: Sequence[str] = (ort_form(),),
    formats: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = ("fp32",),
) -> Bundle:
    """Write a bundle of the embedded detector: `onnx-fp32`, and int8 artifacts.

    Args:
        folder: a new folder, which gets the bundle and the images that it was proved on.
        forms: of the int8 artifacts; default: the one of ONNX Runtime on this machine.
        formats, precisions: of the float artifacts.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(12):
        cv2.imwrite(str(images / f"{number}.png"), make_scene(number).image)
    source = gd.export(MODEL_FILE, folder / "float", formats, precisions, imgsz=SIDE, images=images)
    fp32 = source.artifact("onnx", "fp32")
    model = onnx.load(source.verified_path(fp32))
    stored = read_stored(source)
    assert stored is not None
    feeds = [
        image.pixels[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
        for image in stored.images
    ]
    with BundleWriter(folder / "bundle") as writer:
        writer.adopt(source)
        for form in forms:
            row = int8_form(form)
            graph = quantize(model, statistics_of(model, feeds), form)
            graph = replace(graph, source=source.verified_path(fp32))
            scratch = folder / form / "file"
            scratch.mkdir(parents=True)
            built = row.write(graph, scratch, source.spec).move(writer.folder / row.path)
            writer.add(
                format=row.format,
                precision="int8",
                path=built.path,
                parent=fp32.files[fp32.path],
                tools={},
                extra_files=built.extra_files,
                form=form,
                head=built.spec.head if built.spec else None,
                input=built.spec.input if built.spec else None,
            )
        draft = writer.draft(source.spec, source.document.source, "test", source.evidence)
        store_int8_outputs(draft, RuntimeOptions()).save()
        return writer.finish()


def change_model(bundle: Bundle, artifact_id: str, change: Callable[[ModelProto], None]) -> Bundle:
    """Change an ONNX artifact in place, as a wrong converter would: its hash is written anew."""
    (artifact,) = (each for each in bundle.artifacts if each.id == artifact_id)
    path = bundle.path / artifact.path
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = bundle.path / "bundle.json"
    old = artifact.files[artifact.path]
    name = artifact.path
    text = manifest.read_text().replace(f'"{name}": "{old}"', f'"{name}": "{digest}"')
    before, after = artifact.sizes[name], path.stat().st_size
    manifest.write_text(text.replace(f'"{name}": {before}', f'"{name}": {after}'))
    changed = Bundle.read(bundle.path, verify=True)
    note = changed.evidence.reference
    assert note is not None
    if old in note.int8:  # the outputs of the right file are those to be reached
        kept = {digest: note.int8[old]}
        _rename_outputs(changed, old, digest)
        file = changed.path / note.file
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        changed.with_evidence(msgspec.structs.replace(note, int8=kept, sha256=sha256)).save()
    return Bundle.read(bundle.path)


def scale_wrong(factor: float, index: int = 0) -> Callable[[ModelProto], None]:
    """A change that multiplies one scale of weights by `factor`."""

    def change(model: ModelProto) -> None:
        scales = [t for t in model.graph.initializer if t.name.endswith("weight/scale")]
        tensor = scales[index]
        wrong = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(wrong.astype(np.float32), tensor.name))

    return change


def channels_exchanged(model: ModelProto) -> None:
    """A change that exchanges two input channels of the first convolution."""
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    tensor = next(t for t in model.graph.initializer if t.name == conv.input[1])
    weight = numpy_helper.to_array(tensor)[:, [1, 0, 2]]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name))


def _rename_outputs(bundle: Bundle, old: str, new: str) -> None:
    path = bundle.path / "reference.npz"
    with np.load(path) as file:
        arrays = {name.replace(old, new): file[name] for name in file.files}
    path.unlink()
    np.savez_compressed(path, **arrays)
