"""Every call that a checkpoint's pickle asks for, judged before any record is interpreted.

Nothing is ever called here; a call outside these families is refused all the same, because a
file that asks for it is either hostile or not what we think it is. The whole file is judged, not
only the network: a payload in the optimizer's part is no less hostile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ghost_deploy.checkpoints.records import Call, GlobalRef, describe
from ghost_deploy.core.errors import UnsafeCheckpointError

__all__ = ["check_calls", "is_namespace", "names_function"]

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
_ULTRALYTICS_BAG = "IterableSimpleNamespace"  # it moved between modules over the years
_BAGS = ("argparse.Namespace", "types.SimpleNamespace")
# Standard library classes that may appear as objects; any other standard library class may not.
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


# Parts of torch whose functions an attribute may name: activations, nothing that reads or runs.
_ARITHMETIC = ("torch.nn.", "torch._C._nn.")


def names_function(target: GlobalRef) -> bool:
    """Whether an attribute may name this: a function or class of a fork, or arithmetic of torch.

    Nothing of the standard library: whoever holds `os.system` is up to no good, called or not.
    """
    package = target.module.partition(".")[0]
    if package == "torch":
        return f"{target.module}.".startswith(_ARITHMETIC)
    return package not in sys.stdlib_module_names and package != "numpy"


def check_calls(calls: Iterable[Call], where: str) -> None:
    """See that every call is of a known, harmless kind.

    Args:
        calls: all of the file.
        where: the file's name, for the error message.

    Raises:
        UnsafeCheckpointError: one is not; the error names it.
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
    if path not in _FUNCTIONS:
        return f"call {path}"
    if path == "builtins.getattr" and not _is_harmless_getattr(call.args):
        return f"take {_shown(call.args, 1)} of {_shown(call.args, 0)}"
    if call.state is not None and not path.startswith(_STATEFUL_FUNCTIONS):
        return f"change the state of what {path} returns"
    return None


def is_namespace(call: Call) -> bool:
    """Whether a call makes a bag of attributes, as the training arguments of a model are."""
    target = call.target
    ours = target.module.partition(".")[0] == "ultralytics" and target.name == _ULTRALYTICS_BAG
    return not call.args and (ours or target.path in _BAGS)


def _shown(args: tuple[object, ...], index: int) -> str:
    return describe(args[index]) if index < len(args) else "nothing"


def _fault_of_class(call: Call) -> str | None:
    path = call.target.path
    package = call.target.module.partition(".")[0]
    if package in sys.stdlib_module_names and path not in _PLAIN_CLASSES:
        return f"instantiate {path}"
    return None


def _is_harmless_getattr(args: tuple[object, ...]) -> bool:
    """A method bound to an object of the file, or a member of an enumeration."""
    if len(args) != 2 or not isinstance(args[1], str) or args[1].startswith("_"):
        return False
    owner = args[0]
    if isinstance(owner, Call):
        return owner.kind == "new"
    return (
        isinstance(owner, GlobalRef)
        and owner.module.partition(".")[0] not in sys.stdlib_module_names
    )
