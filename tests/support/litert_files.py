"""Small `.tflite` files, written with LiteRT's own schema: no converter is needed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_tflite(
    path: Path,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    shape: Sequence[int],
    metadata: Mapping[str, str],
) -> Path:
    """A file that computes `weight @ sigmoid(images) + bias` for each pixel.

    Args:
        path: to write.
        weight: (outputs, channels).
        bias: (outputs,).
        shape: of `images`, (1, channels, H, W); -1 where it may vary, as LiteRT marks it.
        metadata: texts in the archive behind the model, by name.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    constants = {
        "weight": weight[None],
        "bias": bias[:, None],
        "shape": np.array([1, shape[1], -1], np.int32),
    }
    sizes = [abs(side) for side in shape]
    pixels = sizes[2] * sizes[3]
    model = schema.ModelT()
    model.version, model.description = 3, "contract"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.name = [], [], "main"

    def tensor(name: str, size: Sequence[int], value: NDArray[Any] | None = None) -> int:
        added = schema.TensorT()
        added.name, added.shape, added.buffer = name, list(size), 0
        added.type = schema.TensorType.FLOAT32
        if value is not None:
            added.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(value.tobytes(), np.uint8)
            if value.dtype == np.int32:
                added.type = schema.TensorType.INT32
        graph.tensors.append(added)
        return len(graph.tensors) - 1

    def operator(kind: str, inputs: list[int], output: int, options: str = "") -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        model.operatorCodes.append(code)
        added = schema.OperatorT()
        added.opcodeIndex = len(model.operatorCodes) - 1
        added.inputs, added.outputs = inputs, [output]
        if options:
            added.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            added.builtinOptions = getattr(schema, f"{options}T")()
        graph.operators.append(added)

    model.operatorCodes = []
    numbers = {name: tensor(name, value.shape, value) for name, value in constants.items()}
    image = tensor("serving_default_images:0", sizes)
    if -1 in shape:
        graph.tensors[image].shapeSignature = list(shape)
    soft, flat = tensor("soft", sizes), tensor("flat", (1, sizes[1], pixels))
    product = tensor("product", (1, len(bias), pixels))
    output = tensor("PartitionedCall:0", (1, len(bias), pixels))
    operator("LOGISTIC", [image], soft)
    operator("RESHAPE", [soft, numbers["shape"]], flat, "ReshapeOptions")
    operator("BATCH_MATMUL", [numbers["weight"], flat], product, "BatchMatMulOptions")
    operator("ADD", [product, numbers["bias"]], output, "AddOptions")
    graph.inputs, graph.outputs = [image], [output]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_named(schema, "images", image)]
    signature.outputs = [_named(schema, "output0", output)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    if metadata:
        with zipfile.ZipFile(path, "a") as archive:
            for name, text in metadata.items():
                archive.writestr(name, text)
    return path


def _named(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
