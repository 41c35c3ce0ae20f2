"""Input shapes that an engine accepts, and the optimization profile for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.runtimes.tensorrt import compat

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InputShapes:
    """Shapes of the input `name`: smallest, usual, largest, and the corners of the range.

    `corners` has all combinations of smallest and largest batch, height and width, and the usual
    shape, without repetitions.
    """

    name: str
    smallest: Shape
    usual: Shape
    largest: Shape
    corners: tuple[Shape, ...]

    @classmethod
    def of(cls, spec: InputSpec) -> InputShapes:
        """Shapes of a description; the engine is tuned for the smallest batch at the usual size."""
        (b0, b1), (h0, w0), (h1, w1) = spec.batch, spec.min_hw, spec.max_hw
        ends = [spec.shape(b, (h, w)) for b in (b0, b1) for h in (h0, h1) for w in (w0, w1)]
        usual = spec.shape(b0, spec.size_hw)
        return cls(spec.name, ends[0], usual, ends[-1], tuple(dict.fromkeys((*ends, usual))))

    @property
    def dynamic(self) -> bool:
        """Whether the engine accepts several shapes."""
        return self.smallest != self.largest


def add_profile(builder: Any, config: Any, shapes: InputShapes) -> Any:
    """Add the profile of a dynamic network; None for a static one, which needs none.

    Raises:
        ExportError: TensorRT rejects it.
    """
    if not shapes.dynamic:
        return None
    profile = builder.create_optimization_profile()
    profile.set_shape(shapes.name, shapes.smallest, shapes.usual, shapes.largest)
    if config.add_optimization_profile(profile) < 0:
        raise ExportError(
            "TensorRT does not take the range of shapes",
            got=f"{shapes.smallest} to {shapes.largest}",
            fix="Export the model again with a smaller range",
        )
    return profile


def verify_shapes(engine: Any, shapes: InputShapes) -> None:
    """Require that an engine accepts all corners of its range and has output shapes there.

    Raises:
        ExportError: it rejects a corner, or an output shape is not determined.
    """
    context = engine.create_execution_context()
    if context is None:
        raise ExportError(
            "the engine was built, but there is no memory to run it",
            fix="Close other programs, or build with a smaller --workspace or input size",
        )
    outputs = [tensor.name for tensor in compat.io_tensors(engine) if not tensor.is_input]
    for corner in shapes.corners:
        taken = context.set_input_shape(shapes.name, corner)
        if not taken or context.infer_shapes():
            raise _refused(corner, "the engine refuses it")
        for name in outputs:
            shape = compat.sizes(context.get_tensor_shape(name))
            if min(shape, default=0) < 1:
                raise _refused(corner, f"output {name} is {shape}")


def _refused(corner: Shape, why: str) -> ExportError:
    return ExportError(
        f"the engine does not run at {corner}, a corner of its range",
        got=why,
        fix="Export the model again with a smaller range, or with a static shape",
    )
