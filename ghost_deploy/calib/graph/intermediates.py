"""Intermediate tensors of a model, computed by ONNX Runtime.

Float models and Q/DQ models are handled alike: a Q/DQ model keeps the node names of the float
model. Q and DQ nodes are executed as such in float32 and never fused to integer kernels, so the
results do not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from ghost_deploy.core.errors import InputError
from ghost_deploy.export.onnx_index import live_nodes
from ghost_deploy.runtimes.vendor import vendor_errors

_FIX = "Check the model with `onnx.checker`, or update: pip install -U onnxruntime"


class Intermediates:
    """Intermediate tensors of a model; only the part between known and wanted ones is run.

    Args:
        model: float or Q/DQ, at most 2 GiB.
        wanted: names of float32 tensors that nodes of the model compute.
        known: names of tensors whose values are given.
        threads: of ONNX Runtime; 0 for its default.

    Attributes:
        inputs: names of the known tensors and model inputs that a run reads.

    Raises:
        InputError: the model computes no such tensor.
        BackendError: ONNX Runtime cannot load or run the part.
    """

    def __init__(
        self,
        model: ModelProto,
        wanted: Iterable[str],
        *,
        known: Iterable[str] = (),
        threads: int = 0,
    ) -> None:
        import onnxruntime

        self._wanted = list(dict.fromkeys(wanted))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        part = _part(model, self._wanted, frozenset(known))
        with vendor_errors("ONNX Runtime cannot load a part of the model", _FIX):
            self._session = onnxruntime.InferenceSession(
                part.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    def __call__(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The wanted tensors by name, float32, in the model's shapes.

        Args:
            values: at least the tensors named in `inputs`, by name.

        Raises:
            BackendError: ONNX Runtime cannot run the part.
        """
        feeds = {name: values[name] for name in self.inputs}
        with vendor_errors("ONNX Runtime cannot run a part of the model", _FIX):
            results = self._session.run(self._wanted, feeds)
        return dict(zip(self._wanted, results, strict=True))

    def of_batch(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The wanted tensors by name for one batch, (B, 3, H, W), of a model with one input."""
        return self(dict.fromkeys(self.inputs, batch))


def _part(model: ModelProto, wanted: Sequence[str], known: frozenset[str]) -> ModelProto:
    graph = model.graph
    nodes = live_nodes(graph.node, wanted, known)
    computed = {name for node in nodes for name in node.output}
    if missing := sorted(set(wanted) - computed):
        raise InputError(
            "the model computes no such tensor",
            got=", ".join(missing),
            fix="Give a float model and the model quantized from it",
        )
    read = {name for node in nodes for name in node.input}
    own = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    inputs = dict.fromkeys([*sorted(known & read), *own])
    part = helper.make_graph(
        nodes,
        "part",
        [_value(name, own.get(name, TensorProto.FLOAT)) for name in inputs if name in read],
        [_value(name, TensorProto.FLOAT) for name in wanted],
        [tensor for tensor in graph.initializer if tensor.name in read],
    )
    return helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def _value(name: str, dtype: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, None)
