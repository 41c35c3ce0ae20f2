"""From a tree of plain data to a network: classes are found by name and verified by structure.

The network is first assembled on the meta device, where tensors have no memory, and checked as a
whole; then the tensors of the checkpoint are loaded.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ghost_deploy.core.errors import AmbiguousClassError, StructureError
from ghost_deploy.models.assembler import Assembler
from ghost_deploy.models.layer_inputs import read_layer_inputs
from ghost_deploy.models.load_weights import load_weights
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.readings import Choices, Kind, OpenChoice
from ghost_deploy.models.registry import NETWORKS, UserClasses
from ghost_deploy.models.tree import ModuleNode

MAX_DEPTH = 32
MAX_MODULES = 20_000


def build(
    node: ModuleNode,
    tensors: Mapping[str, Tensor],
    *,
    extra: UserClasses | None = None,
    choices: Choices | None = None,
) -> DetectionNet:
    """Build the network of a tree, checked, in eval mode, float32, without gradients.

    Args:
        node: the root of the tree, a whole detector.
        tensors: the data of each `TensorInfo` of the tree, by key. They are copied.
        extra: classes of the user, by class name; they take precedence over ours, not over
            torch's.
        choices: the definition to use where several fit. Without one, the first is used if its
            class name makes it certain, or if the others do not fit the layers around them.

    Raises:
        UnknownClassError: classes without a definition; all of them are named.
        AmbiguousClassError: several definitions of a class fit, and none is chosen or certain.
        StructureError: the parts match no definition of their class, or the layers do not match
            each other.
        CorruptCheckpointError: a tensor is missing, of another shape or type, or not finite.
    """
    _check_network(node)
    choices = dict(choices or {})
    net = _assemble(node, extra, choices)
    if undecided := [choice for choice in net.open_choices if not choice.decided]:
        choices |= _only_fitting(node, extra, choices, undecided)
        net = _assemble(node, extra, choices)
    net.check()
    load_weights(net, node, tensors)
    return net.eval().requires_grad_(False)


def readings(node: ModuleNode, *, extra: UserClasses | None = None) -> tuple[OpenChoice, ...]:
    """Return the kinds of modules of a tree of which more than one definition fits.

    A definition fits if its modules do, and if the layers of the network still match each other
    with it; kinds are varied one at a time.

    Args:
        node: the root of the tree, a whole detector.
        extra: classes of the user, by class name.

    Raises:
        UnknownClassError, StructureError: as `build`.
    """
    found = open_choices(node, extra=extra)
    fitting = (_fitting_options(node, extra, {}, choice) for choice in found)
    return tuple(choice for choice in fitting if len(choice.options) > 1)


def open_choices(node: ModuleNode, *, extra: UserClasses | None = None) -> tuple[OpenChoice, ...]:
    """Return what `readings` does, with options that may not fit the layers around them."""
    _check_network(node)
    return _assemble(node, extra, {}).open_choices


def _assemble(node: ModuleNode, extra: UserClasses | None, choices: Choices) -> DetectionNet:
    """The network of a tree, on the meta device, not checked."""
    assembler = Assembler(extra or {}, choices)
    assembler.check_known(node)
    children = node.children["model"].children
    layers = [assembler.module(child, f"model.{name}") for name, child in children.items()]
    net = DetectionNet(layers, read_layer_inputs(node))
    net.origins = dict(sorted(assembler.origins.items()))
    net.notes = tuple(assembler.notes)
    net.open_choices = assembler.open_choices()
    return net


def _only_fitting(
    node: ModuleNode,
    extra: UserClasses | None,
    choices: Choices,
    undecided: Sequence[OpenChoice],
) -> dict[Kind, str]:
    """The one option of each choice with which the layers match each other.

    Raises:
        AmbiguousClassError: several are possible.
    """
    tried = [_fitting_options(node, extra, choices, choice) for choice in undecided]
    several = [choice for choice in tried if len(choice.options) > 1]
    if several:
        facts = "; ".join(
            f"{choice.kind.class_path} ({choice.modules[0]}): {', or '.join(choice.origins)}"
            for choice in several
        )
        raise AmbiguousClassError(
            "two readings fit the parts of the checkpoint",
            got=facts,
            fix="Give --images with images of the kind that it was trained on, and the checkpoint "
            "decides",
            class_paths=tuple(sorted(choice.kind.class_path for choice in several)),
        )
    return {choice.kind: choice.options[0] for choice in tried if choice.options}


def _fitting_options(
    node: ModuleNode, extra: UserClasses | None, choices: Choices, choice: OpenChoice
) -> OpenChoice:
    """The choice with those of its options that the layers around them allow."""
    kept = []
    for option, origin in zip(choice.options, choice.origins, strict=True):
        with contextlib.suppress(StructureError):
            _assemble(node, extra, {**choices, choice.kind: option}).check()
            kept.append((option, origin))
    return replace(
        choice,
        options=tuple(option for option, _ in kept),
        origins=tuple(origin for _, origin in kept),
    )


def _has_sane_size(root: ModuleNode) -> bool:
    """Whether a tree is within the limits of depth and size; without recursion."""
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count + len(waiting) > MAX_MODULES:
            return False
        waiting += [(child, depth + 1) for child in node.children.values()]
    return True


def _is_network(root: ModuleNode, model: ModuleNode) -> bool:
    """Whether a root is a detector by its name or, for a fork's own name, by its last layer."""
    last = list(model.children.values())[-1:]
    if re.search(r"segment|classif|pose|obb|world|yoloe|rtdetr", root.class_name, re.I):
        return False
    return root.class_name in NETWORKS or any("detect" in each.class_name.lower() for each in last)


def _check_network(root: ModuleNode) -> None:
    """Require a detector within the limits, with one Sequential named `model`."""
    if not _has_sane_size(root):
        raise StructureError(
            "the network is nested too deeply or has too many modules",
            expected=f"at most {MAX_DEPTH} levels and {MAX_MODULES} modules",
            fix="This file is not a usable detector",
        )
    model = root.children.get("model")
    if set(root.children) != {"model"} or model is None or not _is_network(root, model):
        raise StructureError(
            f"{root.class_path} is not a detector",
            got=f"children {sorted(root.children)[:8]}",
            expected="one 'model' that ends in a detection head",
            fix="Only detection models can be deployed",
        )
    numbered = list(model.children) == [str(index) for index in range(len(model.children))]
    own_tensors = [*root.parameters, *root.buffers, *model.parameters, *model.buffers]
    if model.class_name != "Sequential" or not model.children or not numbered or own_tensors:
        raise StructureError(
            "the network is not a numbered sequence of layers",
            got=f"{model.class_path} over {list(model.children)[:8]}",
            fix="Only Ultralytics detection models and files of our own can be deployed",
        )
