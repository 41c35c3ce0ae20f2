"""TensorRT releases that are known not to work, and for what. `build` and `doctor` read it.

Each entry names its source: an issue as `repository#number`, or NVIDIA's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ghost_deploy.core.errors import UnavailableError

Release = tuple[int, int, int]


@dataclass(frozen=True)
class Use:
    """What an engine is built for, as far as the table asks.

    Attributes:
        int8: quantized.
        calibrated: its ranges come from a calibration cache.
        end_to_end: the graph ends in a TopK or NMS.
        dla: on a DLA core.
        strongly_typed: the types in the graph decide.
        jetson: on a Jetson.
    """

    int8: bool = False
    calibrated: bool = False
    end_to_end: bool = False
    dla: bool = False
    strongly_typed: bool = False
    jetson: bool = False


@dataclass(frozen=True)
class Known:
    """A range of releases and what is wrong with it.

    Attributes:
        first: the first release that has it.
        fixed_in: the first that has it no more.
        needs: attributes of `Use` that must all be true for it to matter; none means always.
        what: the fault.
        fix: what to do instead.
        refused: whether we refuse to build; else it is only said.
    """

    first: Release
    fixed_in: Release
    needs: tuple[str, ...]
    what: str
    fix: str
    refused: bool = True

    def concerns(self, release: Release, use: Use | None) -> bool:
        """Whether it matters to a release and a use, to any use when None."""
        used = use is None or all(getattr(use, name) for name in self.needs)
        return used and self.first <= release < self.fixed_in


KNOWN = (
    Known(
        (0, 0, 0), (8, 5, 0), (),
        "TensorRT before 8.5 lacks named tensors, and operators that the graphs use",
        "Install TensorRT 8.5 or newer (JetPack 5.1 has 8.5.2)",
    ),
    Known(
        (10, 2, 0), (10, 2, 1), (),
        "TensorRT 10.2.0 gives wrong engines (ultralytics#24367)",
        "Install another version, e.g. 10.3",
    ),
    Known(
        (10, 3, 0), (10, 3, 1), ("int8", "calibrated", "end_to_end"),
        "TensorRT 10.3.0 fails with checkLinks when it calibrates a graph that ends in TopK or "
        "NMS (ultralytics#23841, #26655)",
        "Export the one2many head, use the INT8 ONNX with Q/DQ nodes, or TensorRT 10.7 or newer",
    ),
    Known(
        (10, 3, 0), (10, 3, 1), ("int8", "end_to_end"),
        "TensorRT 10.3.0 fails on calibrated graphs that end in TopK or NMS; whether Q/DQ nodes "
        "avoid that is not known (ultralytics#26655)",
        "If the build fails, export the one2many head",
        refused=False,
    ),
    Known(
        (10, 0, 0), (10, 12, 0), ("strongly_typed",),
        "NVIDIA calls strong typing fully available from TensorRT 10.12 on (migration notes)",
        "Leave out --strongly-typed unless you need it",
        refused=False,
    ),
    Known(
        (10, 8, 0), (11, 4, 1), ("dla",),
        "TensorRT 10.8 to 11.4.0 do not support DLA (release notes of 11.4.1)",
        "Build for the GPU: leave out --dla",
    ),
    Known(
        (11, 0, 0), (11, 4, 1), ("jetson",),
        "TensorRT 11.0 to 11.4.0 do not support Jetson (release notes of 11.4.1)",
        "Use the TensorRT that came with JetPack",
        refused=False,
    ),
)  # fmt: skip
"""In the order of the releases."""


def release_of(version: str) -> Release:
    """The first three numbers of a version, e.g. (10, 13, 3) of `10.13.3.9.post1`."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def known_problems(release: Release, use: Use | None = None) -> Iterator[Known]:
    """Yield what is known of a release: for one use, or for all when None."""
    return (entry for entry in KNOWN if entry.concerns(release, use))


def refuse(release: Release, use: Use | None = None) -> tuple[str, ...]:
    """Raise for what is refused; the sentences of what is only to be said.

    Args:
        release: first three numbers of the version.
        use: what for; only what matters always when None.

    Raises:
        UnavailableError: this release does not work for that use.
    """
    said = []
    for entry in known_problems(release, use or Use()):
        if entry.refused:
            raise UnavailableError(
                entry.what, got="TensorRT " + ".".join(map(str, release)), fix=entry.fix
            )
        said.append(f"{entry.what}. {entry.fix}")
    return tuple(said)
