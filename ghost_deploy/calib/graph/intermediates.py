"""Tensors inside a model, computed by ONNX Runtime.

Works on float models and on Q/DQ models alike: a Q/DQ model keeps the names of the float model's
nodes. Q/DQ nodes are computed as they stand, in float32, and never fused to integer kernels, so
that the numbers do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from ghost_deploy.core.errors import BackendError, InputError

__all__ = ["Part", "Taps", "upstream_of"]


class Part:
    """The part of a model between tensors that are known and tensors that are wanted.

    Args:
        model: float or Q/DQ, at most 2 GiB.
        wanted: names of float32 tensors that nodes of the model make.
        known: names of tensors that need not be computed.
        threads: of a run; 0 for ONNX Runtime's choice.

    Attributes:
        inputs: those of `known`, and of the model's own inputs, that a run reads.

    Raises:
        InputError: the model makes no such tensor.
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
        try:
            self._session = onnxruntime.InferenceSession(
                part.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions have no common base class.
        except Exception as error:
            raise _refused("load", error) from error
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    def __call__(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The wanted tensors by name; `values` holds at least `inputs`."""
        try:
            results = self._session.run(self._wanted, {name: values[name] for name in self.inputs})
        # ONNX Runtime's exceptions have no common base class.
        except Exception as error:
            raise _refused("run", error) from error
        return dict(zip(self._wanted, results, strict=True))


class Taps:
    """Tensors inside a model, for one batch after the other.

    Args:
        model: float or Q/DQ, with one input; at most 2 GiB.
        tensors: names of float32 tensors that its nodes make.
        threads: of a run; 0 for ONNX Runtime's choice.

    Raises:
        InputError: the model makes no such tensor.
        BackendError: ONNX Runtime cannot load or run the model.
    """

    def __init__(self, model: ModelProto, tensors: Iterable[str], *, threads: int = 0) -> None:
        self._part = Part(model, tensors, threads=threads)

    def __call__(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The tensors for one batch, by name."""
        return self._part(dict.fromkeys(self._part.inputs, batch))


def upstream_of(
    model: ModelProto, tensors: Iterable[str], known: frozenset[str] = frozenset()
) -> list[NodeProto]:
    """The nodes that `tensors` depend on when those in `known` are given, in execution order."""
    wanted, found = set(tensors), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(name for name in node.input if name not in known)
    return found[::-1]


def _part(model: ModelProto, wanted: Sequence[str], known: frozenset[str]) -> ModelProto:
    graph = model.graph
    nodes = upstream_of(model, wanted, known)
    made = {name for node in nodes for name in node.output}
    if missing := sorted(set(wanted) - made):
        raise InputError(
            "the model makes no such tensor",
            got=", ".join(missing),
            fix="Give a float model and the quantized model that was made from it",
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


def _refused(verb: str, error: Exception) -> BackendError:
    lines = str(error).strip().splitlines()
    return BackendError(
        f"ONNX Runtime cannot {verb} a part of the model",
        got=lines[0] if lines else type(error).__name__,
        fix="Check the model with `onnx.checker`, or update: pip install -U onnxruntime",
    )
