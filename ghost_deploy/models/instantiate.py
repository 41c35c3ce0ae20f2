"""From a tree of plain data to a network: classes are found by name and verified by structure.

The network is first assembled on the meta device, where tensors have no memory, and checked as a
whole; then the tensors of the checkpoint are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ghost_deploy.core.errors import StructureError, UnknownClassError
from ghost_deploy.models.fields import MisfitError, is_function
from ghost_deploy.models.layer_inputs import read_layer_inputs
from ghost_deploy.models.load_weights import load_weights
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.registry import NETWORKS, UserClasses, candidates
from ghost_deploy.models.tree import ModuleNode

MAX_DEPTH = 32
MAX_MODULES = 20_000


def build(
    node: ModuleNode, tensors: Mapping[str, Tensor], *, extra: UserClasses | None = None
) -> DetectionNet:
    """Build the network of a tree, checked, in eval mode, float32, without gradients.

    Args:
        node: the root of the tree, a whole detector.
        tensors: the data of each `TensorInfo` of the tree, by key. They are copied.
        extra: classes of the user, by class name; they take precedence over ours, not over
            torch's.

    Raises:
        UnknownClassError: classes without a definition; all of them are named.
        StructureError: the parts match no definition of their class, or the layers do not match
            each other.
        CorruptCheckpointError: a tensor is missing, of another shape or type, or not finite.
    """
    _check_network(node)
    builder = _Builder(extra or {})
    builder.check_known(node)
    sequence = node.children["model"]
    layers = [builder.module(child, f"model.{name}") for name, child in sequence.children.items()]
    net = DetectionNet(layers, read_layer_inputs(node))
    net.origins = dict(sorted(builder.origins.items()))
    net.notes = tuple(builder.notes)
    net.check()
    load_weights(net, node, tensors)
    return net.eval().requires_grad_(False)


class _Builder:
    """Builds modules from nodes and records the definition of each class path."""

    def __init__(self, extra: UserClasses) -> None:
        self.extra = extra
        self.origins: dict[str, str] = {}
        self.notes: list[str] = []

    def check_known(self, root: ModuleNode) -> None:
        """Raise UnknownClassError with all class paths below `root` without a definition."""
        paths = {node.class_path for name, node in root.walk() if name}
        unknown = tuple(sorted(path for path in paths if not candidates(path, self.extra)))
        if unknown:
            raise UnknownClassError(
                "the checkpoint uses module classes without a definition",
                got=", ".join(unknown),
                fix="Pass the Python file that defines them, if you trust it: --modules FILE.py",
                class_paths=unknown,
            )

    def module(self, node: ModuleNode, name: str) -> nn.Module:
        """Build the module of a node and its children, on the meta device.

        Raises:
            StructureError: no definition of the class matches.
        """
        children = {
            child_name: self.module(child, f"{name}.{child_name}")
            for child_name, child in node.children.items()
        }
        reasons = []
        for definition in candidates(node.class_path, self.extra):
            try:
                module = definition.assemble(node, children)
                unknown = definition.unknown(node)
                _require_no_function(node, unknown)
            except MisfitError as reason:
                reasons.append(f"not {definition.origin}: {reason}")
                continue
            self._remember(node, definition.origin, unknown)
            return module
        raise StructureError(
            f"{name} is a {node.class_path} of an unknown structure",
            got=f"{'; '.join(reasons)}. Found:\n{describe(node)}\n",
            fix="Pass the Python file that defines it, if you trust it: --modules FILE.py",
        )

    def _remember(self, node: ModuleNode, origin: str, unknown: set[str]) -> None:
        seen = self.origins.get(node.class_path)
        if seen is None:
            self.origins[node.class_path] = origin
        elif origin not in seen.split(" / "):
            self.origins[node.class_path] = f"{seen} / {origin}"
        if unknown:
            names = ", ".join(sorted(unknown))
            note = f"{node.class_path} has attributes that {origin} does not know: {names}"
            if note not in self.notes:
                self.notes.append(note)


def _require_no_function(node: ModuleNode, unknown: set[str]) -> None:
    """Raise `MisfitError` for an unknown attribute that names a function.

    It may be part of the computation; other unknown attributes are reported in a note.
    """
    for name in sorted(unknown):
        if is_function(node.attributes[name]):
            path = node.attributes[name]
            raise MisfitError(f"attribute {name!r} is a function that it does not know: {path}")


def describe(node: ModuleNode, lines: int = 24) -> str:
    """Describe a node for an error message: classes, attributes, tensor shapes.

    Args:
        node: to describe.
        lines: maximum number of lines.
    """
    text = []
    for name, part in node.walk():
        depth = name.count(".") + 1 if name else 0
        facts = [f"{key}={value!r:.40}" for key, value in sorted(part.attributes.items())]
        shapes = [f"{key}{list(info.shape)}" for key, info in part.parameters.items()]
        label = f"{name.rpartition('.')[2]}: " if name else ""
        text.append(f"{'  ' * depth}{label}{part.class_name}({', '.join(facts + shapes)})"[:160])
        if len(text) > lines:
            return "\n".join([*text[:lines], "  ..."])
    return "\n".join(text)


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


def _check_network(root: ModuleNode) -> None:
    """Require a detector within the limits, with one Sequential named `model`."""
    if not _has_sane_size(root):
        raise StructureError(
            "the network is nested too deeply or has too many modules",
            expected=f"at most {MAX_DEPTH} levels and {MAX_MODULES} modules",
            fix="This file is not a usable detector",
        )
    model = root.children.get("model")
    if root.class_name not in NETWORKS or set(root.children) != {"model"} or model is None:
        raise StructureError(
            f"{root.class_path} is not a detector",
            got=f"children {sorted(root.children)[:8]}",
            expected=f"one of {', '.join(sorted(NETWORKS))} around one 'model'",
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
