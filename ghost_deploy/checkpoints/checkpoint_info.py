"""The description of the network in a checkpoint: class names, image size, version, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ghost_deploy.checkpoints.limits import MAX_CLASS_NAME
from ghost_deploy.checkpoints.records import describe
from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.tree import ModuleNode

_SCALED = re.compile(r"^(yolo(?:v)?\d+)([ntsmblxce])(?=$|[-_.])", re.IGNORECASE)
_METRIC = re.compile(r"^metrics/([\w-]{1,40})(\(B\))?$")
_SIDES = range(1, 8193)


@dataclass(frozen=True)
class CheckpointInfo:
    """Validated texts and numbers of a checkpoint; empty if not recorded.

    Attributes:
        family: architecture, e.g. `yolov8-ghost`. scale: its size letter, e.g. `n`.
        class_names: in the order of the class channels.
        image_size_hw: (height, width) of training in pixels, not yet a multiple of the stride.
        trained_with: framework and version. trained_at: date.
        metrics: of the last validation, e.g. `mAP50-95`, 0 to 1.
        warnings: for the user.
    """

    family: str
    class_names: tuple[str, ...]
    scale: str = ""
    image_size_hw: tuple[int, int] | None = None
    trained_with: str = ""
    trained_at: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def class_names_of(names: Any, where: str) -> tuple[str, ...]:
    """Convert class names to a tuple.

    Args:
        names: a list, or a dict by class id.
        where: the file name, for the error message.

    Raises:
        StructureError: an id is missing, or a name is not a short printable text.
    """
    by_number = dict(enumerate(names)) if isinstance(names, (list, tuple)) else names
    if not isinstance(by_number, dict) or not by_number:
        raise _wrong_names(where, f"a {type(names).__name__}", "a list, or a dict by class number")
    if not all(type(key) is int for key in by_number):
        raise _wrong_names(where, "class numbers that are no integers", "0, 1, 2, ...")
    if sorted(by_number) != list(range(len(by_number))):
        raise _wrong_names(where, f"class numbers {sorted(by_number)[:8]}", "0, 1, 2, ...")
    for number, name in by_number.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _wrong_names(where, f"class {number} = {describe(name)}", "a printable name")
        if len(name) > MAX_CLASS_NAME:
            raise _wrong_names(where, f"{len(name)} characters", f"at most {MAX_CLASS_NAME}")
    return tuple(by_number[number] for number in range(len(by_number)))


def _wrong_names(where: str, got: str, expected: str) -> StructureError:
    return StructureError(
        f"{where} has unusable class names",
        got=got,
        expected=expected,
        fix="Name them while exporting: --names data.yaml; or set model.names where it was "
        "trained, and save the model again",
    )


def family_of(yaml_file: str, scale: str, class_names: Iterable[str]) -> tuple[str, str]:
    """Return architecture family and size letter.

    Args:
        yaml_file: name of the model file, e.g. `yolov8n-ghost.yaml`, or empty.
        scale: size letter recorded in the checkpoint, or empty.
        class_names: of all modules, e.g. `GhostConv`.
    """
    stem = re.sub(r"\.ya?ml$", "", yaml_file.rpartition("/")[2])
    family = stem if re.fullmatch(r"[\w.-]{1,64}", stem) else "yolo"
    if match := _SCALED.match(family):
        family = match[1] + family[match.end() :]
        scale = scale or match[2]
    if "ghost" not in family.lower() and any("ghost" in name.lower() for name in class_names):
        family += "-ghost"
    return family.lower(), scale if re.fullmatch(r"\w{1,8}", scale) else ""


def image_size_of(value: Any) -> tuple[int, int] | None:
    """Return (height, width) of the training argument `imgsz`: a side, or height and width."""
    sides = value if isinstance(value, list) else [value]
    if len(sides) not in (1, 2) or not all(type(s) is int and s in _SIDES for s in sides):
        return None
    return sides[0], sides[-1]


def metrics_of(value: Any) -> dict[str, float]:
    """Return the validation metrics by their short names, without the losses."""
    found = {}
    for key, number in value.items() if isinstance(value, dict) else ():
        match = _METRIC.match(key)
        if match and type(number) in (int, float) and math.isfinite(number):
            found[match[1]] = float(number)
    return found


def structure_notes(tree: ModuleNode) -> tuple[str, ...]:
    """Return notes for the user on the types of the weights and on the batch norms."""
    notes = []
    dtypes = {info.dtype for _, node in tree.walk() for info in node.parameters.values()}
    if half := sorted(dtypes & {"float16", "bfloat16"}):
        notes.append(
            f"the weights are stored as {' and '.join(half)}, as usual after training: an fp32 "
            "export computes in float32 on weights of that precision"
        )
    norms = [node for _, node in tree.walk() if node.class_name == "BatchNorm2d"]
    odd = sorted({eps for node in norms if isinstance(eps := node.get("eps"), float)} - {1e-3})
    if odd:
        shown = ", ".join(f"{eps:g}" for eps in odd[:4])
        notes.append(f"some batch norms have eps {shown} instead of Ultralytics' 0.001; kept")
    if not norms:
        notes.append("the batch norms were folded before the file was saved")
    return tuple(notes)
