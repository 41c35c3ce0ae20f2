"""The top level of a checkpoint of Ultralytics' package, or of the repositories YOLOv5 and YOLOv7.

During training, the file has `ema` (the averaged network, to be used), `optimizer` and more;
afterwards only `model`. Training arguments and `git` contain paths and addresses of the training
machine: only image size and task are read from them. The older repositories call the arguments
`opt`, name the classes by a list, and record no version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ghost_deploy.checkpoints.checkpoint_info import (
    CheckpointInfo,
    class_names_of,
    family_of,
    image_size_of,
    metrics_of,
)
from ghost_deploy.checkpoints.plain_values import NotPlainError, PlainReader
from ghost_deploy.checkpoints.records import Call, describe, pairs_of
from ghost_deploy.checkpoints.tensors import is_tensor
from ghost_deploy.checkpoints.tree_reader import is_module, state_of
from ghost_deploy.core.errors import CheckpointError, StructureError
from ghost_deploy.models.tree import Attribute

KNOWN_VERSION = (8, 4)
"""Newest minor version of Ultralytics that this release was tested with."""

_TASK_OF_CLASS = {
    "ClassificationModel": "classify",
    "IKeypoint": "pose",
    "Classify": "classify",
    "OBB": "obb",
    "OBBModel": "obb",
    "Pose": "pose",
    "PoseModel": "pose",
    "RTDETRDecoder": "RT-DETR",
    "RTDETRDetectionModel": "RT-DETR",
    "Segment": "segment",
    "SegmentationModel": "segment",
    "WorldDetect": "open-vocabulary (World)",
    "WorldModel": "open-vocabulary (World)",
    "YOLOEModel": "open-vocabulary (YOLOE)",
}


@dataclass(frozen=True)
class FoundNetwork:
    """The network of a file.

    Attributes:
        record: of the network. origin: its key in the file, or `file`.
        document: the rest of the top level.
    """

    record: Call
    origin: str
    document: dict[str, Any]


def find_network(root: Any, where: str) -> FoundNetwork:
    """Return the network to use: the averaged one, if present.

    Raises:
        StructureError: there is no network; the error describes the content.
    """
    if is_module(root):
        return FoundNetwork(root, "file", {})
    pairs = pairs_of(root)
    document = {key: value for key, value in pairs or () if isinstance(key, str)}
    for key in ("ema", "model"):
        if is_module(document.get(key)):
            return FoundNetwork(document[key], key, document)
    values = [*document.values(), *(pairs_of(document.get("model")) or ())]
    only_tensors = any(
        is_tensor(value[1] if isinstance(value, tuple) else value) for value in values
    )
    raise StructureError(
        f"{where} holds no network",
        got="weights alone (a state_dict)" if only_tensors else _summary(root, document),
        expected="a pickled model under 'ema' or 'model', as Ultralytics writes it",
        fix="Give the best.pt or last.pt of the training",
    )


def _summary(root: Any, document: dict[str, Any]) -> str:
    if not document:
        return describe(root)
    return ", ".join(f"{key[:40]}: {describe(value)}" for key, value in [*document.items()][:6])


def _check_whole(found: FoundNetwork, where: str) -> None:
    """Require a whole network, not its layers alone."""
    if found.record.target.module.startswith("torch.nn."):
        raise StructureError(
            f"{where} holds layers alone, not the network around them",
            got=f"a pickled {found.record.target.name}",
            expected="the detection model, which has the class names and keeps the outputs that "
            "later layers use",
            fix="Save the whole model where it was trained: torch.save({'model': model}, "
            "'model.pt'), not model.model",
        )


def check_task(found: FoundNetwork, where: str) -> None:
    """Require that the network is a detector of a supported kind.

    Raises:
        CheckpointError: another task, which the error names, or fake quantization.
    """
    names = [path.rpartition(".")[2] for path in module_classes(found)]
    recorded = [each.get("task") for each in _arguments(found)] + [
        state_of(found.record).get("task")
    ]
    tasks = [_TASK_OF_CLASS[name] for name in names if name in _TASK_OF_CLASS]
    tasks += [task for task in recorded if isinstance(task, str) and task != "detect"]
    if tasks:
        raise CheckpointError(
            f"{where} is a model for another task",
            got=f"{tasks[0]:.40}",
            expected="detect",
            fix="Only detectors can be deployed",
        )
    _check_whole(found, where)
    if found.document.get("modelopt") is not None:
        raise CheckpointError(
            f"{where} was trained with fake quantization (modelopt)",
            fix="Give the float checkpoint from before the quantization",
        )


def module_classes(found: FoundNetwork) -> Counter[str]:
    """Count the modules of each class path, shared modules once; without recursion."""
    seen: set[int] = set()
    counts: Counter[str] = Counter()
    queue: list[Any] = [found.record]
    for value in queue:
        if not is_module(value) or id(value) in seen:
            continue
        seen.add(id(value))
        counts[value.target.path] += 1
        children = value.state["_modules"]
        # A hostile file may share one dictionary among all modules: it is visited once.
        if id(children) not in seen:
            seen.add(id(children))
            queue.extend(child for _, child in pairs_of(children) or ())
    return counts


def read_info(
    found: FoundNetwork, where: str, plain: PlainReader, given_names: tuple[str, ...] = ()
) -> CheckpointInfo:
    """Read class names, image size, version and metrics.

    Args:
        found: the network.
        where: the file name, for error messages.
        plain: reads plain values, within its budget.
        given_names: class names instead of those of the file, which are then not read.

    Raises:
        StructureError: the class names are unusable.
        UnsafeCheckpointError: a value exceeds a limit.
    """
    state = state_of(found.record)
    yaml = _plain_dict(state.get("yaml"), plain)
    names = [path.rpartition(".")[2] for path in module_classes(found)]
    repository = repository_of(found)
    file = _text(yaml.get("yaml_file")) or _text(state.get("yaml_file")) or repository
    family, scale = family_of(file, _text(yaml.get("scale")), names)
    size = _image_size(found, plain)
    version = _text(found.document.get("version"))
    metrics = metrics_of(_plain_dict(found.document.get("train_metrics"), plain))
    class_names = given_names or state.get("names", found.document.get("names"))
    pairs = pairs_of(class_names)
    return CheckpointInfo(
        family=family,
        scale=scale,
        class_names=class_names_of(class_names if pairs is None else dict(pairs), where),
        image_size_hw=size,
        trained_with=f"ultralytics {version}" if version else repository,
        trained_at=_text(found.document.get("date")),
        metrics=metrics,
        warnings=tuple(_warnings(found, version, size is not None, bool(metrics))),
    )


def repository_of(found: FoundNetwork) -> str:
    """`yolov5` or `yolov7` for a network of that repository, else an empty text.

    Both call their modules `models.yolo` and `models.common`; only YOLOv7 has implicit knowledge.
    """
    # Packages made of the repository put a name of their own in front.
    if not found.record.target.module.endswith("models.yolo"):
        return ""
    own = {path.rpartition(".")[2] for path in module_classes(found)}
    return "yolov7" if "ImplicitA" in own else "yolov5"


def _image_size(found: FoundNetwork, plain: PlainReader) -> tuple[int, int] | None:
    """The size of the training; before v6.0 `img_size` held that of training and of validation."""
    for each in _arguments(found):
        sides = _plain(each.get("imgsz"), plain)
        if sides is None and isinstance(old := _plain(each.get("img_size"), plain), list):
            sides = old[:1]
        if size := image_size_of(sides):
            return size
    return None


def _warnings(
    found: FoundNetwork, version: str, has_size: bool, has_metrics: bool
) -> Iterator[str]:
    if not version and not repository_of(found):
        yield "the file does not say which version of Ultralytics wrote it"
    elif (numbers := _numbers(version)) and numbers > KNOWN_VERSION:
        known = ".".join(map(str, KNOWN_VERSION))
        yield f"written by Ultralytics {version}, newer than what was tested here ({known})"
    if not has_size:
        yield "the file does not say at which image size it was trained: 640 is assumed"
    if not has_metrics:
        yield "the file records no validation metrics"
    epoch = found.document.get("epoch")
    if type(epoch) is int and epoch >= 0 and found.document.get("optimizer") is not None:
        yield (
            f"saved during training, after epoch {epoch + 1}; the best.pt of a finished one is "
            "usually better"
        )


def _arguments(found: FoundNetwork) -> list[dict[str, Any]]:
    """The training arguments of the file and of the network, unconverted."""
    names = ("train_args", "opt")
    records = [*map(found.document.get, names), state_of(found.record).get("args")]
    states = [each.state if isinstance(each, Call) else each for each in records]
    return [state for state in states if isinstance(state, dict)]


def _plain(value: Any, plain: PlainReader) -> Attribute:
    """Plain data, or None for anything else, which is not part of the network."""
    try:
        return plain.read(value)
    except NotPlainError:
        return None


def _plain_dict(value: Any, plain: PlainReader) -> dict[str, Attribute]:
    """A dict as plain data; other values become None."""
    return {str(key): _plain(item, plain) for key, item in pairs_of(value) or ()}


def _text(value: Any) -> str:
    """A short printable text, else an empty one."""
    return value if isinstance(value, str) and len(value) <= 64 and value.isprintable() else ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit() and len(part) < 6)
