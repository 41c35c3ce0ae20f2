"""The ways of making an int8 file that are worth trying, by form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ghost_deploy.calib.forms import Form
from ghost_deploy.calib.quantize.placement import PlacementOptions, default_options
from ghost_deploy.calib.quantize.qdq import DEFAULT_METHOD
from ghost_deploy.calib.ranges.methods import Method
from ghost_deploy.core.evidence.int8 import Trial

__all__ = ["JUDGES", "Recipe", "best", "recipes_for"]

JUDGES: dict[str, str] = {
    "tensorrt": "ort",
    "tensorrt-fp16": "ort",
    "ort-x86": "ort",
    "ort-arm": "ort",
    "openvino": "openvino",
}
"""The runtime that measures a form's accuracy on this machine. ONNX Runtime computes the Q/DQ
arithmetic of a TensorRT file exactly as it is written, only slowly."""

_METHODS: tuple[Method, ...] = (DEFAULT_METHOD, "mse", "percentile")
"""In the order of what they lost on two trained Ghost detectors. `entropy` is not among them: it
clips what boxes are made of, up to 86 pixels in the symmetric form."""

_VARIANTS: dict[Form, dict[str, dict[str, Any]]] = {
    "ort-x86": {"depthwise float": {"depthwise": "float"}, "entry int8": {"entry": 0}},
    "ort-arm": {"depthwise int8": {"depthwise": "int8"}},
}
"""What may be faster than the default options on another processor or with wider layers."""

_SAME_SPEED = 1.03
"""Times that differ by less count as equal: two runs of the benchmark differ by as much."""


@dataclass(frozen=True)
class Recipe:
    """One way of making an int8 file.

    Attributes:
        base: what tells it from others that are repaired alike.
        form: for which runtime.
        via: our own Q/DQ graph, or NNCF.
        method: how our own ranges are chosen.
        options: of our own placement.
        correct_bias: take back what rounding shifts the means of our own graph by; NNCF always
            does.
        gelu: in NNCF's graph, compute SiLU by GELU where rounding follows; see
            `calib.openvino_rewrites`.
    """

    base: str
    form: Form
    via: Literal["qdq", "nncf"] = "qdq"
    method: Method = DEFAULT_METHOD
    options: PlacementOptions | None = None
    correct_bias: bool = False
    gelu: bool = False

    @property
    def name(self) -> str:
        """As the report shows it."""
        returned = len(self.options.float_nodes) if self.options else 0
        tails = [", biases corrected"] * self.correct_bias
        tails += [f", {returned} convolution{'s' * (returned > 1)} float"] * bool(returned)
        return "".join((self.base, *tails))

    @property
    def runs_here(self) -> bool:
        """Whether a runtime on this machine computes this form in int8."""
        return self.form != "tensorrt"

    @property
    def label(self) -> str:
        """One word for progress."""
        return f"{self.form}/{self.name.replace(', ', '/').replace(' ', '-')}"

    def without(self, float_nodes: frozenset[str]) -> Recipe:
        """The same with these nodes in float too."""
        options = self.options or default_options(self.form)
        nodes = options.float_nodes | float_nodes
        return replace(self, options=replace(options, float_nodes=nodes))

    def plain(self) -> Recipe:
        """The same without the correction of biases."""
        return replace(self, correct_bias=False)


def recipes_for(form: Form, *, repair: bool = True) -> list[list[Recipe]]:
    """What is tried for a form: variants that differ in speed, each with its ways to accuracy.

    Of a variant the recipes are tried in order until one is good enough; all variants are tried,
    because which one is the fastest depends on the processor.

    Args:
        form: for which runtime.
        repair: corrections of our own graphs may be tried.
    """
    plain = default_options(form)
    found = [list(_by_method(form, "", plain, repair))]
    for tail, change in _VARIANTS.get(form, {}).items():
        found.append(list(_by_method(form, f", {tail}", replace(plain, **change), repair)))
    if form == "openvino":
        found.insert(0, [Recipe("nncf", form, via="nncf")])
        found.insert(1, [Recipe("nncf, SiLU by GELU", form, via="nncf", gelu=True)])
    return found


def _by_method(form: Form, tail: str, options: PlacementOptions, repair: bool) -> Iterator[Recipe]:
    for method in _METHODS:
        plain = Recipe(f"{method}{tail}", form, method=method, options=options)
        yield plain
        if repair and method == DEFAULT_METHOD:
            yield replace(plain, correct_bias=True)


def best(trials: Sequence[Trial], reference: float, max_drop: float) -> Trial | None:
    """The trial to keep: the fastest of those that lose little enough, else the most accurate.

    Among equally fast ones, and where no time is known, the most accurate. None where all failed.

    Args:
        trials: of one form.
        reference: points of the float model.
        max_drop: points that may be lost.
    """
    usable = [(trial, trial.points) for trial in trials if trial.points is not None]
    good = [(trial, points) for trial, points in usable if reference - points <= max_drop]
    if not good:
        return max(usable, key=lambda pair: pair[1])[0] if usable else None
    times = [trial.time for trial, _ in good if trial.time is not None]
    limit = min(times) * _SAME_SPEED if times else None
    fast = [
        (trial, points)
        for trial, points in good
        if limit is None or (trial.time is not None and trial.time <= limit)
    ]
    return max(fast, key=lambda pair: pair[1])[0]
