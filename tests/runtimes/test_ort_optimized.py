"""The optimized graphs that one-shot commands keep: equal results, and nothing else believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.runtimes import ort, ort_optimized
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.checked_bundle import checked_bundle

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return checked_bundle(tmp_path_factory.mktemp("made"), precisions=("fp32", "fp16"))


def output(path: Path, options: RuntimeOptions) -> NDArray[np.float32]:
    with ort.open_model(path, options) as runtime:
        (spec,) = runtime.inputs
        shape = tuple(size if size > 0 else 1 for size in spec.shape)
        image = np.random.default_rng(3).random(shape, np.float32)
        (found,) = runtime.run({spec.name: image}).values()
        assert runtime.metadata()["ghost_deploy.spec"]
        return found.copy()


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("optimized.onnx"))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_kept_graph_gives_the_same_bits(bundle: Bundle, precision: str, tmp_path: Path) -> None:
    (artifact,) = (each for each in bundle.artifacts if each.precision == precision)
    path = bundle.verified_path(artifact)
    plain = output(path, RuntimeOptions(hint="once"))
    once = RuntimeOptions(hint="once", cache_dir=tmp_path / "cache")
    for _ in range(2):  # made, then used
        np.testing.assert_array_equal(output(path, once), plain)
    (file,) = kept(tmp_path)
    file.write_bytes(b"")  # a file that is not what was written is made again
    np.testing.assert_array_equal(output(path, once), plain)
    assert kept(tmp_path)[0].stat().st_size > 0


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_only_a_single_run_keeps_a_graph(bundle: Bundle, hint: str, tmp_path: Path) -> None:
    path = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    output(path, RuntimeOptions(hint=hint, cache_dir=tmp_path))  # type: ignore[arg-type]
    assert not kept(tmp_path)


@pytest.mark.parametrize(
    "damage", [flip_a_bit, Path.unlink, lambda file: file.write_bytes(b"no model")]
)
def test_a_changed_graph_is_made_again(
    bundle: Bundle, damage: Callable[[Path], object], tmp_path: Path
) -> None:
    path = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    once = RuntimeOptions(hint="once", cache_dir=tmp_path)
    right = output(path, once)
    (file,) = kept(tmp_path)
    size = file.stat().st_size
    damage(file)
    damaged = file.read_bytes() if file.exists() else b""
    np.testing.assert_array_equal(output(path, once), right)
    assert file.stat().st_size == size
    assert file.read_bytes() != damaged


def test_another_model_or_version_has_a_graph_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    for precision in ("fp32", "fp16"):
        path = bundle.verified_path(bundle.artifact("onnx", precision))
        output(path, RuntimeOptions(hint="once", cache_dir=tmp_path))
    ort_optimized.open_optimized(path, tmp_path, "0.0", lambda _path, to, _: to and to.touch())
    assert len(kept(tmp_path)) == 3


def test_a_graph_that_cannot_be_loaded_is_no_obstacle(bundle: Bundle, tmp_path: Path) -> None:
    path = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    output(path, RuntimeOptions(hint="once", cache_dir=tmp_path))

    def session(file: Path, _save_to: Path | None, optimize: bool) -> str:
        if not optimize:
            raise RuntimeError("this version cannot read what it wrote")
        return file.name

    version = __import__("onnxruntime").__version__
    assert ort_optimized.open_optimized(path, tmp_path, version, session) == path.name


def test_a_cache_that_cannot_be_used_is_no_obstacle(bundle: Bundle, tmp_path: Path) -> None:
    path = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    right = output(path, RuntimeOptions())
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for folder in ("file", "open"):
        once = RuntimeOptions(hint="once", cache_dir=tmp_path / folder)
        np.testing.assert_array_equal(output(path, once), right)
    assert not kept(tmp_path)
