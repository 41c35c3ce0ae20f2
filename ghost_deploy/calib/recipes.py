"""Recipes: the ways of making an int8 file that are worth trying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.quantize.qdq import DEFAULT_METHOD
from ghost_deploy.calib.ranges.methods import Method

_METHODS: tuple[Method, ...] = (DEFAULT_METHOD, "mse", "percentile")
"""In the order of the loss on two trained Ghost detectors, smallest first."""

_METHODS_OF_SIGNED: tuple[Method, ...] = ("percentile", DEFAULT_METHOD, "mse")
"""The same where activations are signed and symmetric: SiLU leaves half of the levels unused there,
so that a clipped end weighs less than a finer step."""


@dataclass(frozen=True)
class Recipe:
    """One way of making an int8 file.

    Attributes:
        base: name without corrections and float layers.
        form: name of the form.
        options: of the placement; NNCF uses `float_nodes` only.
        via: our own Q/DQ graph, or NNCF.
        method: of choosing ranges for our own graph.
        correct_bias: subtract the mean shift that rounding causes in our own graph; NNCF always
            does.
        gelu: replace SiLU by GELU in NNCF's graph where a quantization follows, see
            `quantize.openvino_rewrites`.
    """

    base: str
    form: str
    options: PlacementOptions
    via: Literal["qdq", "nncf"] = "qdq"
    method: Method = DEFAULT_METHOD
    correct_bias: bool = False
    gelu: bool = False

    @property
    def name(self) -> str:
        """Name in the report, unique within the form."""
        returned = len(self.options.float_nodes)
        tails = [", biases corrected"] * self.correct_bias
        tails += [f", {returned} convolution{'s' * (returned > 1)} float"] * bool(returned)
        return "".join((self.base, *tails))

    @property
    def label(self) -> str:
        """Name in progress reports, without spaces."""
        return f"{self.form}/{self.name.replace(', ', '/').replace(' ', '-')}"

    def is_like(self, other: Recipe) -> bool:
        """Whether it chooses ranges and corrects biases as `other` does."""
        ways = [(each.via, each.method, each.correct_bias) for each in (self, other)]
        return ways[0] == ways[1]

    def with_float(self, nodes: frozenset[str]) -> Recipe:
        """Returns a copy that keeps these nodes float too."""
        kept = self.options.float_nodes | nodes
        return replace(self, options=replace(self.options, float_nodes=kept))


def qdq_recipes(
    form: str, placements: Mapping[str, PlacementOptions], repair: bool
) -> list[list[Recipe]]:
    """Our own Q/DQ graphs: for each placement the methods of choosing ranges, best first.

    Args:
        form: name of the form.
        placements: options by label; the label of the default is empty.
        repair: also try to correct biases.
    """
    return [[*_by_method(form, label, each, repair)] for label, each in placements.items()]


def signed_recipes(
    form: str, placements: Mapping[str, PlacementOptions], repair: bool
) -> list[list[Recipe]]:
    """As `qdq_recipes`, in the order that is best for signed activations."""
    methods = _METHODS_OF_SIGNED
    return [[*_by_method(form, label, each, repair, methods)] for label, each in placements.items()]


def recipes_beside_naive(
    form: str, placements: Mapping[str, PlacementOptions], repair: bool
) -> list[list[Recipe]]:
    """As `qdq_recipes`, and last the naive setting: where ours lose much, the result is no worse.

    Args:
        form, placements, repair: as in `qdq_recipes`.
    """
    naive = Recipe("minmax, naive", form, NAIVE, method="minmax")
    return [*qdq_recipes(form, placements, repair), [naive]]


def openvino_recipes(
    form: str, placements: Mapping[str, PlacementOptions], repair: bool
) -> list[list[Recipe]]:
    """NNCF's graphs, then our own.

    Args:
        form, placements, repair: as in `qdq_recipes`.
    """
    plain = Recipe("nncf", form, placements[""], via="nncf")
    gelu = replace(plain, base="nncf, SiLU by GELU", gelu=True)
    return [[plain], [gelu], *qdq_recipes(form, placements, repair)]


def openvino_recipes_of_one_pass(
    form: str, placements: Mapping[str, PlacementOptions], repair: bool
) -> list[list[Recipe]]:
    """Our own graphs, then NNCF's, which runs the network on all images once more.

    Args:
        form, placements, repair: as in `qdq_recipes`.
    """
    plain = {"": placements[""]}
    nncf = Recipe("nncf", form, placements[""], via="nncf")
    return [*qdq_recipes(form, plain, repair), [nncf]]


def _by_method(
    form: str,
    label: str,
    options: PlacementOptions,
    repair: bool,
    methods: Sequence[Method] = _METHODS,
) -> Iterator[Recipe]:
    for method in methods:
        base = ", ".join(filter(None, (method, label)))
        plain = Recipe(base, form, options, method=method)
        yield plain
        if repair and method == DEFAULT_METHOD:
            yield replace(plain, correct_bias=True)
