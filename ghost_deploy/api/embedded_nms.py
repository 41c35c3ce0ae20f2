"""NMS inside the graph, on request: by the head where it can, else by TensorRT's plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import NMS_FORM, Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.load import Loaded

__all__ = ["needs_plugin", "put_nms"]


def needs_plugin(loaded: Loaded, formats: Sequence[str]) -> bool:
    """Whether NMS takes TensorRT's plugin: the head has no branch that needs none.

    Raises:
        UsageError: it does, and another format than `tensorrt` is asked for.
    """
    if loaded.spec.head.end_to_end:
        return False
    others = [name for name in formats if name != "tensorrt"]
    if others or not formats:
        raise UsageError(
            f"NMS inside the graph of {loaded.source.file} takes TensorRT's plugin EfficientNMS, "
            "which no other runtime has",
            got=", ".join(others) or "no format",
            expected="tensorrt alone",
            fix="Leave out --nms (ghost-deploy does it on the host), or export with --trt alone",
        )
    return True


def put_nms(writer: BundleWriter, bundle: Bundle) -> Bundle:
    """Let the ONNX graphs of a proved draft end in the plugin; the draft that describes them.

    What was proved is the graph before it: ONNX Runtime cannot run the plugin. The engine that is
    built next is compared as a whole.

    Args:
        writer: has the draft's artifacts.
        bundle: the draft; ONNX alone, of the decoder `dfl`.
    """
    import onnx

    from ghost_deploy.export.efficient_nms import append_nms, with_nms

    spec = with_nms(bundle.spec)
    writer.forget()
    for artifact in bundle.artifacts:
        plain = bundle.path / artifact.path
        model = append_nms(onnx.load(plain), spec)
        path = plain.with_name(f"model.{artifact.precision}.{NMS_FORM}.onnx")
        path.write_bytes(model.SerializeToString(deterministic=True))
        plain.unlink()
        writer.add(
            format=artifact.format,
            precision=artifact.precision,
            path=path,
            parent=artifact.parent,
            tools=artifact.tools,
            options={**artifact.options, "decoder": spec.head.decoder},
            form=NMS_FORM,
        )
    document = bundle.document
    return writer.draft(spec, document.source, document.created_with, bundle.evidence)
