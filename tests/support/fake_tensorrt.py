"""A strict `tensorrt` for each version: what that version lacks raises AttributeError.

`make_fake("10.3")` gives a module to put into `sys.modules["tensorrt"]`; its `__fake__` is the
test's side (`fake_tensorrt_strict.Control`): what the parser, the builder and the engine do, and
every call that was made. Names, kinds and signatures are those of the real bindings.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tests.support import fake_tensorrt_builder as fake_builder
from tests.support import fake_tensorrt_engine as fake_engine
from tests.support.fake_tensorrt_strict import (
    NAMES,
    VERSIONS,
    Control,
    Enum,
    Layer,
    ParserFault,
    Tensor,
    enums_of,
    members_of,
    specialize,
)

__all__ = ["VERSIONS", "Control", "Layer", "ParserFault", "Tensor", "make_fake", "make_plan"]

_INPUT = Tensor("images", True, (1, 3, 64, 64))
_OUTPUT = Tensor("output0", False, (1, 7, 84))
_LAYERS = (
    Layer("/stem/Conv", "CONVOLUTION", ("images",), ("a",)),
    Layer("/stem/Sigmoid", "ACTIVATION", ("a",), ("b",)),
    Layer("/stem/Mul", "ELEMENTWISE", ("a", "b"), ("c",)),
    Layer("/box/Conv", "CONVOLUTION", ("c",), ("d",)),
    Layer("/class/Conv", "CONVOLUTION", ("c",), ("e",)),
    Layer("/size/Shape", "SHAPE", ("e",), ("f",), "INT32"),
    Layer("/Exp", "UNARY", ("d",), ("g",)),
    Layer("/Reshape", "SHUFFLE", ("e", "f"), ("h",)),
    Layer("/Sigmoid", "ACTIVATION", ("h",), ("i",)),
    Layer("/Concat", "CONCATENATION", ("g", "i"), ("output0",)),
)
"""A network with a stem, two last convolutions and a decode tail."""


def make_fake(version: str) -> ModuleType:
    """The fake module of a version, with a small network for its parser to find."""
    control = Control(version, tensors=[replace(_INPUT), replace(_OUTPUT)], layers=list(_LAYERS))
    module = _Module("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)  # `find_spec` looks at it
    module.__fake__ = control  # type: ignore[attr-defined]
    module.__version__ = NAMES["versions"][version]  # type: ignore[attr-defined]
    for name, enum in enums_of(version).items():
        setattr(module, name, enum)
    for kind in NAMES["classes"]:
        members = members_of(version, kind)
        base = getattr(fake_builder, kind, None) or getattr(fake_engine, kind, None)
        if members and base is not None:
            setattr(module, kind, specialize(base, kind, control, module, members))
    severity = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    made = {name: Enum("Severity", name, value) for value, name in enumerate(severity)}
    module.ILogger.Severity = type("Severity", (), made)
    module.init_libnvinfer_plugins = lambda logger, namespace: (  # type: ignore[attr-defined]
        control.note("init_libnvinfer_plugins", namespace) or True
    )
    module.get_plugin_registry = module.IPluginRegistry  # type: ignore[attr-defined]
    module._ITensor = module.ITensor  # type: ignore[attr-defined]
    return module


def make_plan(
    version: str,
    tensors: list[Tensor],
    profiles: list[dict[str, tuple[tuple[int, ...], ...]]] | None = None,
    *,
    flags: tuple[str, ...] = (),
) -> bytes:
    """A plan that the fake of `version` deserializes to an engine with those tensors.

    `profiles`: for each input its smallest, usual and largest shape.
    """
    facts = {
        "version": version,
        "flags": list(flags),
        "profiles": [{n: list(map(list, s)) for n, s in p.items()} for p in profiles or []],
        "tensors": [[t.name, t.is_input, list(t.shape), t.dtype] for t in tensors],
    }
    return fake_builder.MAGIC + json.dumps(facts).encode()


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"tensorrt {self.__dict__.get('__version__')} has no {name!r}")
