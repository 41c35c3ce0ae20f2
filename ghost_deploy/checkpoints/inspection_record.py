"""The content of a checkpoint as a record; importing it needs no torch."""

from __future__ import annotations

from typing import Literal

import msgspec

from ghost_deploy.core.evidence.fork_report import ForkCode
from ghost_deploy.core.evidence.statistics_report import StatisticsReport


class OpenClass(msgspec.Struct, frozen=True, kw_only=True):
    """A class that stands between a checkpoint and its export.

    Attributes:
        path: `module.Class` as named in the file. count: number of its modules.
        module: the first one, e.g. `model.5`.
        parts: its attributes, children and shapes, a line each.
    """

    path: str
    count: int
    module: str
    parts: tuple[str, ...]


class ClassUse(msgspec.Struct, frozen=True, kw_only=True):
    """A module class of the file.

    Attributes:
        path: `module.Class` as named in the file.
        count: number of modules of the class; a shared module counts once.
        known: whether the class has a definition.
        definition: the definition used; if the network was not built, the possible ones.
    """

    path: str
    count: int
    known: bool
    definition: str = ""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a checkpoint. Empty values are unknown.

    Attributes:
        file: name without folder. bytes: its size. sha256: of the file.
        format: `ultralytics`, or `ghost-deploy` for our own form.
        family, scale: e.g. `yolov8-ghost`, `n`.
        class_names: in the order of the class channels.
        size_hw: default input size in pixels, a multiple of `stride`.
        strides: of the levels of the head, pixels per cell.
        decoder: format of the output tensor, see `HeadSpec`.
        parameters: number of weights. gflops: 1e9 operations at `size_hw`.
        trained_with, trained_at, metrics, training: as recorded in the file.
        classes: the module classes, by path.
        names: all importable names in the file, used or not.
        warnings: for the user.
        statistics: whether the network computes what its batch norms recorded in training; None
            if it could not be built.
        exportable: whether the network could be built and checked.
        fitted: whether that was tried; False where torch, which it needs, is not installed.
        problems: why it cannot be exported.
        fork: the fork's own code, where it was named and executed: it can run the network.
        open_classes: the classes that stand in the way, with their parts.
        advice: the command that helps, if any.
    """

    file: str
    bytes: int
    sha256: str
    format: Literal["ultralytics", "ghost-deploy"]
    family: str = ""
    scale: str = ""
    class_names: tuple[str, ...] = ()
    size_hw: tuple[int, int] | None = None
    stride: int = 0
    strides: tuple[int, ...] = ()
    decoder: str = ""
    parameters: int = 0
    gflops: float = 0.0
    trained_with: str = ""
    trained_at: str = ""
    metrics: dict[str, float] = {}
    training: dict[str, str] = {}
    classes: tuple[ClassUse, ...] = ()
    names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    statistics: StatisticsReport | None = None
    exportable: bool = False
    fitted: bool = True
    problems: tuple[str, ...] = ()
    fork: ForkCode | None = None
    open_classes: tuple[OpenClass, ...] = ()
    advice: str = ""
