"""Statistics of whole models, against arrays that ONNX Runtime gave straight away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ghost_deploy.calib.images.collection import CalibrationSet, collect_images
from ghost_deploy.calib.ranges import collect as module
from ghost_deploy.calib.ranges.collect import collect_statistics
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.statistics_file import Statistics
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import BackendError, ExportError, InputError, UsageError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.export.trace_onnx import onnx_from_net
from tests.support.assets import BCCD, GHOST, needs_assets
from tests.support.small_graphs import same_statistics

SIZE = (32, 64)
SPEC = InputSpec(size_hw=SIZE)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
INNER = ("conv", "sigmoid", "silu")


def net(*extra: onnx.NodeProto, rows: int | str = 1) -> ModelProto:
    """images -> convolution, SiLU -> out; `extra` nodes may read all of these."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 1, (8, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["conv"], "c", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Sigmoid", ["conv"], ["sigmoid"], "s"),
        helper.make_node("Mul", ["conv", "sigmoid"], ["silu"], "m"),
        helper.make_node("Shape", ["silu"], ["shape"], "h"),
        *extra,
        helper.make_node("Identity", ["silu"], ["out"], "o"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", FLOAT, [rows, 3, *SIZE])],
        [
            helper.make_tensor_value_info("out", FLOAT, None),
            helper.make_tensor_value_info("shape", INT64, None),
        ],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def calibration(tmp_path: Path) -> CalibrationSet:
    rng = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        image = rng.integers(0, 40 * (number + 1) % 256 + 1, (40, 50, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return collect_images(folder, allow_small=True)


def straight(
    model: ModelProto, feeds: list[NDArray[np.float32]], names: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    """All values of some tensors over all feeds, from a session without any optimization."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    runs = [session.run(list(names), {"images": feed}) for feed in feeds]
    return {
        name: np.concatenate([run[index].reshape(-1) for run in runs])
        for index, name in enumerate(names)
    }


def assert_describes(stats: TensorStatistics, values: NDArray[np.float32]) -> None:
    """Within what another order of summation does to a value."""
    near = {"rel": 1e-4, "abs": 1e-5}
    assert stats.count == values.size
    assert stats.minimum == pytest.approx(values.min(), **near)
    assert stats.maximum == pytest.approx(values.max(), **near)
    # Values within the tolerance of an edge may be counted on its other side, and where statistics
    # follow from those of another tensor, all that share one of its bins, which may be wider.
    edges, ordered = stats.edges[1:-1:64], np.sort(values)
    low, high = (
        np.searchsorted(ordered, (edges + side).astype(np.float32))
        for side in (-8 * stats.width, 8 * stats.width)
    )
    counted = np.cumsum(stats.counts)[:-1:64]
    slack = 2e-3 * values.size
    assert (counted >= low - slack).all()
    assert (counted <= high + slack).all()


def same(a: Statistics, b: Statistics) -> bool:
    return list(a.tensors) == list(b.tensors) and all(
        same_statistics(a.tensors[n], b.tensors[n]) for n in a.tensors
    )


def test_no_memory(calibration: CalibrationSet) -> None:
    with pytest.raises(UsageError, match="nothing to collect"):
        collect_statistics(net(), calibration, SPEC, memory_mib=0)


def test_no_image() -> None:
    with pytest.raises(UsageError, match="0 images"):
        collect_statistics(net(), CalibrationSet(()), SPEC)


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_no_model(content: bytes | None, calibration: CalibrationSet, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError):
        collect_statistics(path, calibration, SPEC)


def test_an_image_that_went_away(calibration: CalibrationSet) -> None:
    calibration.sources[3].path.unlink()
    with pytest.raises(InputError, match=r"3\.png"):
        collect_statistics(net(), calibration, SPEC)


def test_a_model_that_cannot_run(calibration: CalibrationSet) -> None:
    reshape = helper.make_node("Reshape", ["silu", "shape7"], ["reshaped"], "r")
    model = net(reshape, helper.make_node("Relu", ["reshaped"], ["wrong"], "relu"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, 7]), "shape7"))
    model.graph.output.append(helper.make_tensor_value_info("wrong", FLOAT, None))
    with pytest.raises(BackendError):
        collect_statistics(model, calibration, SPEC)


def test_all_float_tensors_are_described(calibration: CalibrationSet) -> None:
    found = collect_statistics(net(), calibration, SPEC)
    assert list(found.tensors) == ["images", *INNER, "out"]
    assert found.images == 7
    feeds = list(calibration.batches(SPEC))
    for name, values in straight(net(), feeds, INNER).items():
        assert_describes(found.tensors[name], values)
    assert same_statistics(found.tensors["images"], TensorStatistics.of(np.concatenate(feeds)))


def test_a_path(calibration: CalibrationSet, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(net(), path)
    found = collect_statistics(path, calibration, SPEC)
    assert same(found, collect_statistics(net(), calibration, SPEC))


@pytest.mark.parametrize("rows", [3, "batch"])
def test_other_batches(rows: int | str, calibration: CalibrationSet) -> None:
    """A fixed batch shows every image several times, which changes counts but no shares."""
    times = rows if isinstance(rows, int) else 1
    spec = msgspec.structs.replace(SPEC, batch=(times, 3))
    found = collect_statistics(net(rows=rows), calibration, spec)
    plain = collect_statistics(net(), calibration, SPEC)
    for name, stats in plain.tensors.items():
        assert found.tensors[name].count == times * stats.count
        assert found.tensors[name].maximum == pytest.approx(stats.maximum, rel=1e-5)


def test_passes_keep_to_the_budget_and_change_nothing(
    calibration: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = collect_statistics(net(), calibration, SPEC)
    monkeypatch.setattr(module, "_MIB", 20_000)  # one of the inner tensors of 16 KiB
    seen: list[list[str]] = []

    class Watched(module.Intermediates):
        def __init__(self, model: ModelProto, tensors: Any, **options: Any) -> None:
            seen.append(list(tensors))
            super().__init__(model, tensors, **options)

    monkeypatch.setattr(module, "Intermediates", Watched)
    steps: list[tuple[str, int, int]] = []
    split = collect_statistics(
        net(), calibration, SPEC, memory_mib=1, progress=lambda *call: steps.append(call)
    )
    # The input fills the first pass, which needs no run of the model.
    # "out" is another name of "silu", and "sigmoid" follows from "conv": they need no run either.
    assert seen == [["conv"], ["silu"]]
    assert same(split, whole)
    assert [step for _, step, _ in steps] == list(range(1, 22))
    assert {total for *_, total in steps} == {21}


def test_the_order_of_images_changes_nothing(calibration: CalibrationSet) -> None:
    reverse = CalibrationSet(calibration.sources[::-1])
    a, b = (collect_statistics(net(), each, SPEC) for each in (calibration, reverse))
    assert same(a, b)
    assert a.key == b.key


@pytest.mark.parametrize("operator", ["Log", "Sqrt"])
def test_a_value_that_is_not_finite_names_tensor_and_image(
    operator: str, calibration: CalibrationSet
) -> None:
    model = net(helper.make_node(operator, ["conv"], ["bad"], "b"))
    model.graph.output.append(helper.make_tensor_value_info("bad", FLOAT, None))
    with pytest.raises(InputError, match=r"tensor bad .*image 0\.png.*not finite"):
        collect_statistics(model, calibration, SPEC)


class Interrupt:
    """Stops the collection after some steps, as Ctrl-C would."""

    def __init__(self, after: int = 10**9) -> None:
        self.after = after
        self.steps: list[int] = []

    def __call__(self, _: str, step: int, total: int) -> None:
        self.steps.append(step)
        if len(self.steps) == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [1, 2, 7, 9, 20])
def test_an_interrupted_run_goes_on(
    stop: int, calibration: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT", 2)
    monkeypatch.setattr(module, "_MIB", 20_000)
    options: dict[str, Any] = {"memory_mib": 1, "cache_dir": tmp_path / "cache"}
    with pytest.raises(KeyboardInterrupt):
        collect_statistics(net(), calibration, SPEC, progress=Interrupt(stop), **options)
    rest = Interrupt()
    found = collect_statistics(net(), calibration, SPEC, progress=rest, **options)
    assert rest.steps[-1] == 21
    assert stop - 2 < rest.steps[0] <= stop + 1
    assert same(found, collect_statistics(net(), calibration, SPEC))
    assert found.notes == ()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [
        f"{found.key.digest[:16]}.statistics"
    ]


def test_snapshots_of_another_order_or_split_are_not_gone_on_with(
    calibration: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT", 2)
    reverse = CalibrationSet(calibration.sources[::-1])
    for again, mib in ((reverse, 1 << 20), (calibration, 40_000)):
        cache = tmp_path / str(mib)
        with pytest.raises(KeyboardInterrupt):
            collect_statistics(net(), calibration, SPEC, cache_dir=cache, progress=Interrupt(5))
        monkeypatch.setattr(module, "_MIB", mib)
        rest = Interrupt()
        found = collect_statistics(net(), again, SPEC, cache_dir=cache, memory_mib=1, progress=rest)
        assert rest.steps[0] == 1
        assert "collected again" in found.notes[0]
        assert same(found, collect_statistics(net(), calibration, SPEC))
        monkeypatch.setattr(module, "_MIB", 1 << 20)


def test_what_was_collected_is_kept(calibration: CalibrationSet, tmp_path: Path) -> None:
    steps = Interrupt()
    first = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path, progress=steps)
    again = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path, progress=steps)
    assert len(steps.steps) == 7
    assert same(first, again)


def other_model() -> ModelProto:
    model = net()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    )
    return model


def test_anything_else_is_collected_anew(calibration: CalibrationSet, tmp_path: Path) -> None:
    first = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path)
    darker = msgspec.structs.replace(SPEC, divisor=300.0)
    others: list[Statistics] = [
        collect_statistics(other_model(), calibration, SPEC, cache_dir=tmp_path),
        collect_statistics(net(), calibration.subset(6), SPEC, cache_dir=tmp_path),
        collect_statistics(net(), calibration, darker, cache_dir=tmp_path),
    ]
    words = [other.key.differences(first.key) for other in others]
    assert words == [
        ["another model"],
        ["other images"],
        ["another preprocessing"],
    ]
    assert len(list(tmp_path.glob("*.statistics"))) == 4


def test_what_a_file_says_of_itself_is_no_part_of_the_key(
    calibration: CalibrationSet, tmp_path: Path
) -> None:
    first = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path)
    named = net()
    helper.set_model_props(named, {"description": "renamed"})
    assert collect_statistics(named, calibration, SPEC, cache_dir=tmp_path).key == first.key


def damage_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_by_another_file(path: Path) -> None:
    path.write_bytes(b"something else")


def damage_by_another_key(path: Path) -> None:
    key = Statistics.load(path).key
    Statistics(msgspec.structs.replace(key, model="another"), {}, 1).save(path)


@pytest.mark.parametrize(
    "damage", [damage_by_cutting, damage_by_another_file, damage_by_another_key]
)
def test_a_damaged_cache_is_collected_again_with_a_note(
    damage: Any, calibration: CalibrationSet, tmp_path: Path
) -> None:
    first = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path)
    damage(next(tmp_path.glob("*.statistics")))
    again = collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path)
    assert "collected again" in again.notes[0]
    assert same(again, first)
    assert collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path).notes == ()


def test_a_cache_that_cannot_be_written(calibration: CalibrationSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot write"):
        collect_statistics(net(), calibration, SPEC, cache_dir=tmp_path / "file")


@needs_assets
@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_real_detector(dynamic: bool) -> None:
    loaded = load_checkpoint(GHOST, size_hw=(160, 160))
    spec = loaded.spec
    if dynamic:
        free = {"min_hw": (32, 32), "max_hw": (640, 640), "batch": (1, 4)}
        spec = msgspec.structs.replace(spec, input=msgspec.structs.replace(spec.input, **free))
    model = onnx_from_net(loaded.net, spec, "fp32")
    calibration = collect_images(BCCD / "data.yaml", count=8, allow_small=True)
    found = collect_statistics(model, calibration, spec.input, memory_mib=8, threads=1)
    assert len(found.tensors) > 300
    assert {"images", "output0"} <= set(found.tensors)
    inner = tuple(name for name in found.tensors if name != "images")
    for name, values in straight(model, list(calibration.batches(spec.input)), inner).items():
        assert_describes(found.tensors[name], values)
