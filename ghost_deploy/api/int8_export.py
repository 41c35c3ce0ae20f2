"""The int8 part of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ghost_deploy.api.calibrate import Calibration, check_int8, int8_into, open_inputs
from ghost_deploy.api.common import AnyPath, Progress
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.api.calibrate import Inputs
    from ghost_deploy.core.evidence.int8 import Int8Report
    from ghost_deploy.core.spec import ModelSpec

__all__ = ["Int8Export"]

_INT8 = "int8"


@dataclass
class Int8Export:
    """What an export makes in int8; nothing where that was not asked for.

    Attributes:
        formats: of the int8 artifacts; a TensorRT engine is built from the ONNX one.
        calibration: how; None for an export without int8.
        inputs: pictures and labels, read before any work is done.
        report: what was found, once they are made.
    """

    formats: tuple[str, ...] = ()
    calibration: Calibration | None = None
    inputs: Inputs | None = None
    report: Int8Report | None = field(default=None, init=False)

    @classmethod
    def planned(
        cls,
        formats: Sequence[str],
        precisions: Sequence[str],
        calib: AnyPath | Calibration | None,
        progress: Progress | None,
    ) -> Int8Export:
        """Check what was asked for and read the calibration set.

        Raises:
            UsageError: int8 without images, or images without int8.
            InputError, ImageError: the images or labels cannot be used.
        """
        if (_INT8 in precisions) != (calib is not None):
            raise UsageError(
                "int8 and calibration images belong together",
                got=f"calibration images {'given' if calib is not None else 'missing'}, "
                f"precisions {', '.join(precisions)}",
                fix="Name both --int8 and --calib FOLDER, or neither",
            )
        if calib is None:
            return cls()
        wanted = calib if isinstance(calib, Calibration) else Calibration(source=calib)
        wished = formats or ("onnx", "openvino")
        named = tuple(dict.fromkeys("onnx" if name == "tensorrt" else name for name in wished))
        return cls(named, wanted, open_inputs(wanted, named, progress))

    def check_model(self, spec: ModelSpec, *, plugin: bool) -> None:
        """See that the model goes with what was asked for, before it is exported.

        Args:
            spec: of the checkpoint.
            plugin: NMS is to be done by TensorRT's plugin.

        Raises:
            InputError: the labels are of other classes.
            UsageError: no int8 file ends in the plugin.
        """
        if self.calibration is not None and plugin:
            raise UsageError(
                "an int8 graph cannot end in TensorRT's NMS plugin",
                got="--int8 with --nms",
                fix="Leave out one of the two",
            )
        if self.inputs is not None and self.inputs.data is not None:
            self.inputs.data.for_model(spec.class_names)

    def float_formats(self, formats: Sequence[str]) -> Sequence[str]:
        """The formats to export in float: with int8 also the ONNX that it is made from."""
        if self.calibration is None or "onnx" in formats:
            return formats
        return ("onnx", *formats)

    def float_precisions(self, precisions: Sequence[str]) -> Sequence[str]:
        """The float precisions to export: with int8 also the fp32 that it is judged beside."""
        if self.calibration is None:
            return precisions
        floats = tuple(name for name in precisions if name != _INT8)
        return floats if "fp32" in floats else ("fp32", *floats)

    def add_to(self, writer: BundleWriter, bundle: Bundle, progress: Progress | None) -> Bundle:
        """Make the int8 artifacts in the writer's folder.

        Args:
            writer: has the bundle's float artifacts.
            bundle: the proved draft.
            progress: told of each step.

        Returns:
            The draft with the int8 artifacts and their report, unsaved.
        """
        if self.calibration is None or self.inputs is None:
            return bundle
        self.report, draft = int8_into(
            writer,
            bundle.verified_path(bundle.artifact("onnx", "fp32")),
            bundle,
            self.inputs,
            self.calibration,
            formats=self.formats,
            options=RuntimeOptions(),
            progress=progress,
        )
        return draft

    def check(self, bundle: Bundle) -> None:
        """Raise GateError if an int8 artifact loses more than it may."""
        if self.report is not None:
            check_int8(self.report, bundle)
