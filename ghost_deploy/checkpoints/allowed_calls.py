"""The calls that the pickle of a checkpoint may request, checked before records are interpreted.

Nothing is ever called; a request for another call is refused because the file is then hostile or of
an unknown kind. The whole file is checked, not only the network: a payload in the optimizer state
is hostile too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ghost_deploy.checkpoints.records import Call, GlobalRef, describe
from ghost_deploy.core.errors import UnsafeCheckpointError

# What torch.save writes as a call for plain values, containers and tensors.
_FUNCTIONS = frozenset(
    {
        "_codecs.encode",
        "builtins.frozenset",
        "builtins.getattr",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "datetime.timezone",
        "numpy.dtype",
        "torch.Size",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.device",
        "torch.serialization._get_layout",
    }
    | {
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    }
    | {
        f"{module}.{kind}"
        for module in ("pathlib", "pathlib._local")
        for kind in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    }
)
_STATEFUL_FUNCTIONS = ("collections.", "numpy.", "torch._utils._rebuild_parameter_with_state")
_ULTRALYTICS_NAMESPACE = "IterableSimpleNamespace"  # its module differs between versions
_NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
# The only standard library classes that objects may have.
_PLAIN_CLASSES = frozenset(
    {
        "argparse.Namespace",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "types.SimpleNamespace",
    }
)


# Enumerations that the preprocessing of a classifier holds; a member is read as a call.
_ENUMERATIONS = frozenset({"InterpolationMode"})

# Parts of torch whose functions an attribute may name: activations, no input, output or execution.
_ARITHMETIC = ("torch.nn.", "torch._C._nn.")


def names_function(target: GlobalRef) -> bool:
    """Whether an attribute may name this: a function or class of a fork, or arithmetic of torch.

    Names of the standard library, such as `os.system`, are not allowed, even if not called.
    """
    package = target.module.partition(".")[0]
    if package == "torch":
        return f"{target.module}.".startswith(_ARITHMETIC)
    return package not in sys.stdlib_module_names and package != "numpy"


def check_calls(calls: Iterable[Call], where: str) -> None:
    """Require that all calls are of a known, harmless kind.

    Args:
        calls: all calls of the file.
        where: the file name, for the error message.

    Raises:
        UnsafeCheckpointError: a call is not allowed; the error names it.
    """
    for call in calls:
        fault = _fault_of_function(call) if call.kind == "reduce" else _fault_of_class(call)
        if fault:
            raise UnsafeCheckpointError(
                f"{where} asks to {fault}; it was not run",
                fix="If you trust where the file comes from, load it there and save the model "
                "again without that; if not, delete it and open it with no other tool",
            )


def _fault_of_function(call: Call) -> str | None:
    path = call.target.path
    if is_namespace(call):
        return None
    if call.target.module.startswith("torchvision.") and call.target.name in _ENUMERATIONS:
        plain = len(call.args) == 1 and isinstance(call.args[0], str) and call.state is None
        return None if plain else f"call {path}"
    if path not in _FUNCTIONS:
        return f"call {path}"
    if path == "builtins.getattr" and not _is_harmless_getattr(call.args):
        return f"take {_shown(call.args, 1)} of {_shown(call.args, 0)}"
    if call.state is not None and not path.startswith(_STATEFUL_FUNCTIONS):
        return f"change the state of what {path} returns"
    return None


def is_namespace(call: Call) -> bool:
    """Whether a call creates a namespace, such as the training arguments of a model."""
    target = call.target
    ours = (
        target.module.partition(".")[0] == "ultralytics" and target.name == _ULTRALYTICS_NAMESPACE
    )
    return not call.args and (ours or target.path in _NAMESPACES)


def _shown(args: tuple[object, ...], index: int) -> str:
    return describe(args[index]) if index < len(args) else "nothing"


def _fault_of_class(call: Call) -> str | None:
    path = call.target.path
    package = call.target.module.partition(".")[0]
    if package in sys.stdlib_module_names and path not in _PLAIN_CLASSES:
        return f"instantiate {path}"
    return None


def _is_harmless_getattr(args: tuple[object, ...]) -> bool:
    """Whether it is a bound method of an object of the file, or a member of an enumeration."""
    if len(args) != 2 or not isinstance(args[1], str) or args[1].startswith("_"):
        return False
    owner = args[0]
    if isinstance(owner, Call):
        return owner.kind == "new"
    return (
        isinstance(owner, GlobalRef)
        and owner.module.partition(".")[0] not in sys.stdlib_module_names
    )
