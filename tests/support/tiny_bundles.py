"""Bundles of tiny files: handing over copies, it does not open them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

SPEC = ModelSpec(
    name='best "of" all',
    family="yolov8-ghost",
    class_names=("RBC", "WBC", "Plättchen"),
    input=InputSpec(size_hw=(64, 96), stride=32),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)
DYNAMIC = msgspec.structs.replace(
    SPEC,
    input=msgspec.structs.replace(SPEC.input, batch=(1, 16), min_hw=(32, 64), max_hw=(128, 192)),
)
ALL = (
    ("onnx", "fp32", ""),
    ("onnx", "fp16", ""),
    ("openvino", "fp32", ""),
    ("tensorrt", "fp16", ""),
    ("onnx", "int8", "ort-x86"),
    ("onnx", "int8", "tensorrt"),
)


def make_bundle(
    folder: Path, spec: ModelSpec = SPEC, kinds: tuple[tuple[str, str, str], ...] = ALL
) -> Bundle:
    with BundleWriter(folder) as writer:
        for format, precision, form in kinds:
            stem = "-".join(filter(None, ("model", precision, form)))
            path = writer.folder / {"onnx": f"{stem}.onnx", "tensorrt": f"{stem}.plan"}.get(
                format, f"{stem}.xml"
            )
            path.write_bytes(f"{format} {precision} {form}".encode())
            extra = []
            if format == "openvino":
                extra.append(path.with_suffix(".bin"))
            if form == "tensorrt":
                extra.append(writer.folder / "model.int8.trtcache")
            for other in extra:
                other.write_bytes(b"more")
            writer.add(
                format=format,
                precision=precision,
                path=path,
                parent="0",
                tools={},
                extra_files=tuple(extra),
                form=form,
            )
        writer.draft(spec, Source(file="best.pt", sha256="0" * 64), "test")
        return writer.finish()
