"""The fake itself: it has what the real bindings of a version have, and nothing else."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from tests.support.assets import SHARED
from tests.support.fake_tensorrt import VERSIONS, make_fake
from tests.support.fake_trt_strict import NAMES, enums_of, members_of

KEY = SHARED / "reference" / "trt_api" / "key.json"


def test_five_versions() -> None:
    assert VERSIONS == ("8.5.3", "8.6.1", "10.3", "10.13", "11.4")


@pytest.mark.skipif(not KEY.is_file(), reason=f"no list of names at {KEY}")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_names_are_those_of_the_bindings(version: str) -> None:
    key = json.loads(KEY.read_text())[version]
    assert NAMES["versions"][version] == key["version"]
    for kind in NAMES["classes"]:
        assert members_of(version, kind) == set(key["classes"].get(kind, ())), kind
    ours = enums_of(version)
    for kind in NAMES["enums"]:
        if kind not in key["enums"]:
            assert kind not in ours
            continue
        values = {name: int(member) for name, member in ours[kind].__members__.items()}
        assert values == key["enums"][kind], kind


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
