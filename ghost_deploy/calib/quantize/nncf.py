"""int8 for OpenVINO by NNCF; the float tail is found in the graph.

The three settings below are not NNCF's defaults. On a trained yolov8n-ghost at 416 (87 images) they
reduce the loss of mAP50-95 from 2.69 to 0.27 points: the head float 2.69 to 0.93, no overflow guard
0.64, the range of all images instead of the mean over images 0.27. Of the head, only the nodes
behind the last convolutions must be float: with these in int8 as well, the loss is the same to 0.05
points (yolov8n-ghost at 640, yolov8n-ghostnet at 416).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ghost_deploy.calib.images.collection import CalibrationSet
from ghost_deploy.calib.quantize.openvino_rewrites import sum_bins_by_convolution
from ghost_deploy.core.errors import ExportError, MissingExtraError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import InputSpec

_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
_ABSENT: Any = object()
_NOT_COMPUTED = frozenset({"Constant", "Result", "Parameter", "Convert"})


def quantize_openvino(
    model: Any,
    calibration: CalibrationSet,
    input_spec: InputSpec,
    *,
    keep_float: Collection[str] = (),
    overflow_fix: str = "DISABLE",
    progress: Progress = silent,
    label: str = "calibrating",
) -> Any:
    """Quantize an OpenVINO model with NNCF's post-training quantization.

    Weights become symmetric s8 with one scale a channel, activations asymmetric u8 where they have
    negative values and symmetric where not (NNCF's preset `mixed`). The tail, see
    `tail_operations`, stays float, and sums the boxes' bins by a convolution.

    Args:
        model: an `openvino.Model` in float; not changed.
        calibration: the images; all of them are used.
        input_spec: of the model.
        keep_float: names of further nodes, in the ONNX graph that the model was read from.
        overflow_fix: NNCF's own guard against overflow, a name of its `OverflowFix`: it halves the
            range of weights. `openvino_overflow` has a closer one.
        progress: receives each image.
        label: what is done, for `progress`.

    Returns:
        A new `openvino.Model`.

    Raises:
        MissingExtraError: nncf is not installed.
        ExportError: NNCF cannot quantize the model.
    """
    nncf = _import_nncf()
    names = sorted({*tail_operations(model), *_operations_of(model, keep_float)})
    feeder = _Feeder(calibration, input_spec, model.inputs[0].any_name, progress, label)
    try:
        with _quiet_console():
            quantized = nncf.quantize(
                model.clone(),
                nncf.Dataset([*range(len(calibration))], feeder),
                subset_size=len(calibration),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=names),
                advanced_parameters=_parameters(overflow_fix),
            )
    except (nncf.ValidationError, nncf.InternalError, RuntimeError) as error:
        raise ExportError(
            "NNCF cannot quantize the model",
            got=str(error).strip().partition("\n")[0],
            fix="Report this with the checkpoint's architecture",
        ) from error
    sum_bins_by_convolution(quantized)
    return quantized


def save_openvino(model: Any, path: Path) -> None:
    """Write a model as an uncompressed IR, the weights in a second file."""
    import openvino

    openvino.save_model(model, path, compress_to_fp16=False)


def read_openvino(path: Path) -> Any:
    """The `openvino.Model` that `save_openvino` wrote."""
    import openvino

    return openvino.Core().read_model(path)


def _import_nncf() -> Any:
    """NNCF, without its side effects on the process.

    On import it reports its use to an analytics service where that service's client is installed,
    prints its log to standard output, and replaces the class of all later loggers.
    """
    if find_spec("nncf") is None:
        raise MissingExtraError.for_extra("nncf", "int8")
    loggers, client = logging.getLoggerClass(), sys.modules.get("openvino_telemetry", _ABSENT)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # None makes it missing
    try:
        import nncf
    finally:
        logging.setLoggerClass(loggers)
        del sys.modules["openvino_telemetry"]
        if client is not _ABSENT:
            sys.modules["openvino_telemetry"] = client
    nncf.set_log_level(logging.ERROR)
    return nncf


def _parameters(overflow_fix: str) -> Any:
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix[overflow_fix],
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )


@contextlib.contextmanager
def _quiet_console() -> Iterator[None]:
    """Silence rich's shared console, on which NNCF draws progress regardless of its log level."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def tail_operations(model: Any) -> list[str]:
    """Names of the operations behind the last convolutions, which must stay float.

    The boxes' bins, the decoding and the sigmoid of the scores mix pixels of 0 to 640 with values
    of 0 to 1; int8 there costs points of mAP.

    Args:
        model: an `openvino.Model`.
    """
    found: dict[str, Any] = {}
    todo = list(model.get_results())
    while todo:
        for port in todo.pop().inputs():
            operation = port.get_source_output().get_node()
            name = operation.get_friendly_name()
            if name not in found and operation.get_type_name() not in _CONVOLUTIONS:
                found[name] = operation
                todo.append(operation)
    return [name for name, each in found.items() if each.get_type_name() not in _NOT_COMPUTED]


def _operations_of(model: Any, nodes: Collection[str]) -> Iterator[str]:
    """Names of the operations that OpenVINO converted those ONNX nodes to.

    The last one has the name of the node, earlier ones `node/WithoutBiases` and the like.
    """
    wanted = frozenset(nodes)
    for operation in model.get_ops():
        name = operation.get_friendly_name()
        computed = operation.get_type_name() not in _NOT_COMPUTED
        if computed and (name in wanted or name.rpartition("/")[0] in wanted):
            yield name


@dataclass
class _Feeder:
    """Inputs by index, which NNCF requests in order and repeatedly."""

    calibration: CalibrationSet
    input_spec: InputSpec
    name: str
    progress: Progress
    label: str
    next_index: int = 0
    batches: Iterator[Any] = field(default_factory=lambda: iter(()))

    def __call__(self, index: int) -> dict[str, Any]:
        self.progress(self.label, index, len(self.calibration))
        if index == 0 or index != self.next_index:
            self.batches = self.calibration.batches(self.input_spec)
            for _ in range(index):
                next(self.batches)
        self.next_index = index + 1
        return {self.name: next(self.batches)}
