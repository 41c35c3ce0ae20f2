"""The fake itself: it has what the real bindings of a version have, and nothing else."""

from __future__ import annotations

import inspect
import json
import re
from types import ModuleType
from typing import Any

import pytest

from tests.support.assets import SHARED
from tests.support.fake_tensorrt import VERSIONS, make_fake
from tests.support.fake_tensorrt_strict import NAMES, accepts, enums_of, members_of

KEY = SHARED / "reference" / "trt_api" / "key.json"
SIGNATURES = KEY.parent / "signatures"
_FILES = dict(zip(VERSIONS, ("8.5.3", "8.6.1", "10.3.0", "10.13.3", "11.4.0"), strict=True))
_reference = pytest.mark.skipif(not KEY.is_file(), reason=f"no facts of the bindings at {KEY}")


def test_five_versions() -> None:
    assert VERSIONS == ("8.5.3", "8.6.1", "10.3", "10.13", "11.4")


@_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_the_enums_are_those_of_the_bindings(version: str) -> None:
    key = json.loads(KEY.read_text())[version]
    assert NAMES["versions"][version] == key["version"]
    ours = enums_of(version)
    for kind in NAMES["enums"]:
        if kind not in key["enums"]:
            assert kind not in ours
            continue
        values = {name: int(member) for name, member in ours[kind].__members__.items()}
        assert values == key["enums"][kind], kind


@_reference
@pytest.mark.parametrize("version", VERSIONS)
def test_the_members_are_those_of_the_bindings(version: str) -> None:
    """Names, kinds, what can be set, parameters and their defaults."""
    classes = json.loads((SIGNATURES / f"{_FILES[version]}.json").read_text())["classes"]
    for kind in NAMES["classes"]:
        real = classes.get(kind, {"members": {}})["members"]
        public = {name: entry for name, entry in real.items() if not name.startswith("_")}
        ours = dict(members_of(version, kind))
        if ours.pop("__init__", None):
            assert members_of(version, kind)["__init__"] == _fact(real["__init__"])
        assert ours == {name: _fact(entry) for name, entry in public.items()}, kind


def _fact(entry: dict[str, Any]) -> str:
    """A member in the words of the table."""
    if entry["kind"] == "property":
        return "set" if entry["settable"] else "get"
    if entry["kind"] == "value":
        return "value"
    forms = [form for form in map(_parameters, entry["sig"]) if form]
    return " | ".join(dict.fromkeys(forms))


def _parameters(signature: str) -> str:
    """`(name, other=)` of `f(self: T, name: A, other: B = <...>) -> C`; empty for other text."""
    found = re.fullmatch(r"\w+\(self: [^,)]*(?:, )?(.*)\)(?: -> .*)?", signature)
    if found is None:
        return ""
    flat = found[1]
    while (simpler := re.sub(r"<[^<>]*>|\[[^][]*\]", "", flat)) != flat:
        flat = simpler
    parts = [part.strip() for part in flat.split(",") if part.strip()]
    names = (part.partition(":")[0] + ("=" if "=" in part else "") for part in parts)
    return f"({', '.join(names)})"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_fake_models_is_of_the_same_kind(version: str) -> None:
    fake = make_fake(version)
    for kind in NAMES["classes"]:
        for name, fact in members_of(version, kind).items():
            found = inspect.getattr_static(getattr(fake, kind, None), name, None)
            if isinstance(found, property):
                assert fact in ("get", "set"), f"{kind}.{name}"
                assert (found.fset is not None) <= (fact == "set"), f"{kind}.{name}"
            elif inspect.isfunction(found) and name != "__init__":
                assert fact.startswith("("), f"{kind}.{name}"


def test_calls_are_checked(fake_trt: ModuleType) -> None:
    config = fake_trt.IBuilderConfig()
    cache = config.create_timing_cache(serialized_timing_cache=b"")
    assert config.set_timing_cache(cache, ignore_mismatch=False)
    for wrong in (
        lambda: config.set_timing_cache(cache),
        lambda: config.set_timing_cache(cache, False, True),
        lambda: config.set_timing_cache(cache, ignore=False),
        config.num_optimization_profiles,
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError, match="can't set"):
        config.num_optimization_profiles = 1
    with pytest.raises(AttributeError, match="can't set"):
        config.set_flag = None
    with pytest.raises(AssertionError, match="has no"):
        type("Ours", (fake_trt.ILogger,), {"logg": None})


def test_overloads() -> None:
    one, two = "(index) | (name, deep=)", {"deep": 1}
    assert accepts(one, (1,), {})
    assert accepts(one, (), {"index": 1})
    assert accepts(one, ("x",), two)
    assert not accepts(one, (), two)
    assert not accepts(one, (), {})
    assert not accepts(one, (1, 2, 3), {})
    assert not accepts(one, ("x",), {"name": "x"})


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("BuilderFlag.FP16", ("8.5.3", "8.6.1", "10.3", "10.13")),
        ("BuilderFlag.STRICT_TYPES", ("8.5.3", "8.6.1")),
        ("IInt8EntropyCalibrator2", ("8.5.3", "8.6.1", "10.3", "10.13")),
        ("IProgressMonitor", ("10.3", "10.13", "11.4")),
        ("ICudaEngine.num_bindings", ("8.5.3", "8.6.1")),
        ("ICudaEngine.device_memory_size", ("8.5.3", "8.6.1", "10.3", "10.13")),
        ("ILayer.precision", ("8.5.3", "8.6.1", "10.3", "10.13")),
        ("IBuilderConfig.builder_optimization_level", ("8.6.1", "10.3", "10.13", "11.4")),
        ("HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", ("10.13", "11.4")),
        ("NoSuchThing", ()),
    ],
)
def test_hasattr_tells_the_versions_apart(name: str, present: tuple[str, ...]) -> None:
    for version in VERSIONS:
        found: object = make_fake(version)
        for part in name.split("."):
            found = getattr(found, part, None)
        assert (found is not None) == (version in present), version


def test_what_a_version_lacks_raises(fake_trt: ModuleType) -> None:
    config = fake_trt.IBuilderConfig()
    with pytest.raises(AttributeError):
        config.no_such_setting = 1
    with pytest.raises(AttributeError):
        _ = config.no_such_setting
    with pytest.raises(AttributeError):
        _ = fake_trt.no_such_function
    with pytest.raises(NotImplementedError):
        config.reset_device_type(None)


def test_members_are_no_integers(fake_trt: ModuleType) -> None:
    with pytest.raises(TypeError):
        1 << fake_trt.MemoryPoolType.WORKSPACE
