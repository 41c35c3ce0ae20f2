"""Known problems of TensorRT releases, for `build` and `doctor`.

Each entry has its source: an issue as `repository#number`, or NVIDIA's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ghost_deploy.core.errors import UnavailableError

Release = tuple[int, int, int]
_ANY: Release = (999, 0, 0)


@dataclass(frozen=True)
class EngineUse:
    """Properties of an engine that known problems depend on.

    Attributes:
        int8: quantized.
        calibrated: with ranges from a calibration cache.
        end_to_end: the graph ends in TopK or NMS.
        dla: on a DLA core.
        strongly_typed: built as a strongly typed network.
        jetson: on a Jetson.
        agnostic: the plugin EfficientNMS has `class_agnostic` set.
    """

    int8: bool = False
    calibrated: bool = False
    end_to_end: bool = False
    dla: bool = False
    strongly_typed: bool = False
    jetson: bool = False
    agnostic: bool = False


@dataclass(frozen=True)
class KnownProblem:
    """A problem of a range of releases.

    Attributes:
        first: first release that has it.
        fixed: first release without it.
        needs: attributes of `EngineUse` that must all be true; empty for all engines.
        what: the problem.
        fix: what the user can do.
        refused: whether builds are refused; otherwise there is a note.
    """

    first: Release
    fixed: Release
    needs: tuple[str, ...]
    what: str
    fix: str
    refused: bool = True

    def concerns(self, release: Release, use: EngineUse) -> bool:
        """Whether it affects that release and engine."""
        return self.has(release) and all(getattr(use, name) for name in self.needs)

    def has(self, release: Release) -> bool:
        """Whether the release has it."""
        return self.first <= release < self.fixed


KNOWN_PROBLEMS = (
    KnownProblem(
        (0, 0, 0), (8, 5, 0), (),
        "TensorRT before 8.5 lacks named tensors, and operators that the graphs use",
        "Install TensorRT 8.5 or newer (JetPack 5.1 has 8.5.2)",
    ),
    KnownProblem(
        (8, 5, 0), (8, 6, 0), ("agnostic",),
        "the plugin EfficientNMS of TensorRT 8.5 has no field class_agnostic, and its parser would "
        "leave the request out without a word",
        "Export without --nms, so that NMS is done on the host, or without --agnostic; or install "
        "TensorRT 8.6 or newer",
    ),
    KnownProblem(
        (10, 2, 0), (10, 2, 1), (),
        "TensorRT 10.2.0 gives wrong engines (ultralytics#24367)",
        "Install another version, e.g. 10.3",
    ),
    KnownProblem(
        (10, 3, 0), (10, 3, 1), ("int8", "calibrated", "end_to_end"),
        "TensorRT 10.3.0 fails with checkLinks when it calibrates a graph that ends in TopK or "
        "NMS (ultralytics#23841, #26655)",
        "Export the one2many head, use the INT8 ONNX with Q/DQ nodes, or TensorRT 10.7 or newer",
    ),
    KnownProblem(
        (10, 3, 0), (10, 3, 1), ("int8", "end_to_end"),
        "TensorRT 10.3.0 fails on calibrated graphs that end in TopK or NMS; whether Q/DQ nodes "
        "avoid that is not known (ultralytics#26655)",
        "If the build fails, export the one2many head",
        refused=False,
    ),
    KnownProblem(
        (10, 0, 0), (10, 12, 0), ("strongly_typed",),
        "NVIDIA calls strong typing fully available from TensorRT 10.12 on (migration notes)",
        "Leave out --strongly-typed unless you need it",
        refused=False,
    ),
    KnownProblem(
        (10, 8, 0), (11, 4, 1), ("dla",),
        "TensorRT 10.8 to 11.4.0 do not support DLA (release notes of 11.4.1)",
        "Build for the GPU: leave out --dla",
    ),
    KnownProblem(
        (11, 0, 0), (11, 4, 1), ("jetson",),
        "TensorRT 11.0 to 11.4.0 do not support Jetson (release notes of 11.4.1)",
        "Use the TensorRT that came with JetPack",
        refused=False,
    ),
)  # fmt: skip
"""In order of releases."""


def release_of(version: str) -> Release:
    """The first three numbers of a version, e.g. (10, 13, 3) of `10.13.3.9.post1`."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def known_problems(release: Release, use: EngineUse | None = None) -> Iterator[KnownProblem]:
    """Known problems of a release, for one engine, or for all when None."""
    for entry in KNOWN_PROBLEMS:
        if entry.has(release) if use is None else entry.concerns(release, use):
            yield entry


def check_release(release: Release, use: EngineUse | None = None) -> tuple[str, ...]:
    """Refuse a release that is known not to work; returns the notes of other known problems.

    Args:
        release: first three numbers of the version.
        use: of the engine; None for problems of all engines only.

    Raises:
        UnavailableError: this release does not work for the engine.
    """
    notes = []
    for entry in known_problems(release, use or EngineUse()):
        if entry.refused:
            raise UnavailableError(
                entry.what, got="TensorRT " + ".".join(map(str, release)), fix=entry.fix
            )
        notes.append(f"{entry.what}. {entry.fix}")
    return tuple(notes)
