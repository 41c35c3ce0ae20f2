"""What tools/fuzz.py changes and reads: a target for each kind of input of others."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ghost_deploy as gd
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.spec import ModelSpec
from tests.support.constant_model import write_constant_bundle
from tests.support.image_files import huge_headers, png_with_exif, tiff, webp_with_exif
from tests.support.model_specs import make_spec

_SIDE = 64


class Target:
    """One kind of input.

    Attributes:
        inputs: valid ones.
        tokens: words of its language.
        is_json: whether the inputs are JSON documents.
        exact: whether each result must be `expected`: a hash or a signature covers the input.
        expected: the result of the unchanged input.
    """

    name: ClassVar[str]
    tokens: Sequence[bytes] = ()
    is_json = False
    exact = False

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        self.inputs: Sequence[bytes] = self.make()
        self.expected = self.run(self.inputs[0])

    def make(self) -> Sequence[bytes]:
        """Write what is needed into `folder`; the valid inputs."""
        raise NotImplementedError

    def run(self, data: bytes) -> object:
        """Read one input as the package does."""
        raise NotImplementedError

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _scene(seed: int = 0) -> np.ndarray[Any, Any]:
    from ghost_deploy.demo.scenes import make_scene

    return cv2.resize(make_scene(seed).image, (_SIDE, _SIDE))


class BundleDocumentTarget(Target):
    """`bundle.json`: read, opened and run."""

    name = "bundle"
    is_json = True

    def make(self) -> Sequence[bytes]:
        bundle = write_constant_bundle(self.folder / "b")
        self._image = _scene()
        found = [(self.folder / "b" / "bundle.json").read_bytes()]
        for document in _evidence():
            bundle.with_evidence(document).save()
            found.append((self.folder / "b" / "bundle.json").read_bytes())
        return found

    def run(self, data: bytes) -> object:
        (self.folder / "b" / "bundle.json").write_bytes(data)
        with gd.load(self.folder / "b", "ort", check=False, allow_failed_parity=False) as detector:
            return len(detector(self._image))


def _evidence() -> list[Document]:
    """Documents of several kinds."""
    from tests.support.int8_reports import int8_row, small_int8_report
    from tests.support.parity_reports import parity_row, small_parity_report
    from tests.support.report_documents import USUAL, accuracy_report, bench_report

    return [
        small_parity_report(parity_row(status="passed"), parity_row("onnx-fp16")),
        small_int8_report(int8_row("onnx-int8-ort-x86", 0.1)),
        accuracy_report(USUAL).thin(),
        bench_report(USUAL, samples=4),
    ]


class ReportTarget(Target):
    """What the commands print with --json, and reports, read and shown as pages."""

    name = "report"
    is_json = True

    def make(self) -> Sequence[bytes]:
        from tests.support.report_documents import (
            USUAL,
            accuracy_report,
            bench_report,
            make_report,
            parity_report,
        )

        made = (
            parity_report(USUAL),
            accuracy_report(USUAL),
            bench_report(USUAL, samples=4),
            make_report(USUAL),
        )
        return [msgspec.json.encode(each.to_document()) for each in made]

    def run(self, data: bytes) -> object:
        (self.folder / "r.json").write_bytes(data)
        pages = {form: self.folder / f"page.{form}" for form in ("html", "markdown")}
        gd.report(self.folder / "r.json", **pages)
        return None


class InspectedBundleTarget(BundleDocumentTarget):
    """`bundle.json`: shown by `inspect` and `report`."""

    name = "inspect"

    def run(self, data: bytes) -> object:
        from ghost_deploy.cli.main import main

        (self.folder / "b" / "bundle.json").write_bytes(data)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(["inspect", str(self.folder / "b")])
        if "This is a bug" in said.getvalue():
            raise RuntimeError(said.getvalue())
        gd.report(self.folder / "b", markdown=self.folder / "page.md")
        return code


class SignedBundleTarget(Target):
    """The files of a signed bundle, read with trust: refused, or what was signed."""

    name = "signed"
    exact = True
    _CUT = b"\n--- next file ---\n"

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.core.bundle.statement import MODEL_FILE

        write_constant_bundle(self.folder / "b")
        key = self.folder / "k"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        (self.folder / "trust").write_text(f"maker {key.with_suffix('.pub').read_text()}")
        gd.sign(self.folder / "b", key)
        self._names = ("bundle.json", MODEL_FILE, f"{MODEL_FILE}.sig")
        return [self._CUT.join((self.folder / "b" / name).read_bytes() for name in self._names)]

    def run(self, data: bytes) -> object:
        parts = data.split(self._CUT)
        for name, part in zip(self._names, parts + [b""] * 3, strict=False):
            (self.folder / "b" / name).write_bytes(part)
        bundle = gd.Bundle.read(self.folder / "b", trust=self.folder / "trust")
        return bundle.spec, bundle.document.source, bundle.artifacts, bundle.signers


class SpecTarget(Target):
    """The description of a model."""

    name = "spec"
    is_json = True

    def make(self) -> Sequence[bytes]:
        return [make_spec((_SIDE, _SIDE)).to_json()]

    def run(self, data: bytes) -> object:
        return ModelSpec.from_json(data)


class _DataSetTarget(Target):
    """A labelled data set of two images."""

    def make(self) -> Sequence[bytes]:
        for split in ("images", "labels"):
            (self.folder / split).mkdir()
        for index in range(2):
            cv2.imwrite(str(self.folder / "images" / f"{index}.png"), _scene(index))
            label = self.folder / "labels" / f"{index}.txt"
            label.write_text("0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n")
        return self.documents()

    def documents(self) -> Sequence[bytes]:
        """The valid descriptions."""
        raise NotImplementedError

    def _open(self, file: str) -> object:
        from ghost_deploy.judge.datasets.open_dataset import open_dataset

        return len(open_dataset(self.folder / file, skip_broken=True).images)


class DataYamlTarget(_DataSetTarget):
    """`data.yaml` of the YOLO form."""

    name = "data-yaml"
    tokens = (
        b"&a ",
        b"*a",
        b"!!int x",
        b"!!float .inf",
        b"2024-02-30",
        b"{",
        b"[",
        b"- ",
        b": ",
        b"\t",
        b"!!binary x",
        b"? ",
        b"|\n",
        b">\n",
        b"---\n",
        b"<<: *a",
        b"9" * 5000,
        b"[" * 300,
        b"!!set",
        b"!!python/object/apply:os.system [id]",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\n",
        b"names:",
        b"path:",
        b"0x_",
        b"1:2:3",
        b"..",
        b"/",
        b"~",
        b"%YAML 9.9\n",
        b"\xff\xfe",
    )

    def documents(self) -> Sequence[bytes]:
        return [
            b"path: .\nval: images\nnames: [a, b]\n",
            b"path: .\nval: [images]\nnames: {0: a, 1: b}\nnc: 2\ndownload: null\n",
        ]

    def run(self, data: bytes) -> object:
        (self.folder / "data.yaml").write_bytes(data)
        return self._open("data.yaml")


class LabelsTarget(_DataSetTarget):
    """A label file of the YOLO form."""

    name = "labels"
    tokens = (
        b"nan ",
        b"inf ",
        b"1e999 ",
        b"-",
        b"0x1 ",
        b"9" * 400,
        b"\n",
        b"\x00",
        b"\xff",
        b"1 ",
    )

    def documents(self) -> Sequence[bytes]:
        (self.folder / "data.yaml").write_bytes(b"path: .\nval: images\nnames: [a, b]\n")
        return [b"0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n", b"0 0.1 0.1 0.5 0.1 0.5 0.5\n", b""]

    def run(self, data: bytes) -> object:
        (self.folder / "labels" / "0.txt").write_bytes(data)
        return self._open("data.yaml")


class CocoTarget(_DataSetTarget):
    """Labels of the COCO form."""

    name = "coco"
    is_json = True

    def documents(self) -> Sequence[bytes]:
        images = [
            {"id": i, "file_name": f"{i}.png", "width": _SIDE, "height": _SIDE} for i in range(2)
        ]
        notes = [
            {"id": 1, "image_id": 0, "category_id": 3, "bbox": [4, 5, 10, 12.5], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 64, 64], "area": 4096},
        ]
        categories = [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]
        document = {"images": images, "annotations": notes, "categories": categories}
        return [msgspec.json.encode(document)]

    def run(self, data: bytes) -> object:
        (self.folder / "labels.json").write_bytes(data)
        return self._open("labels.json")


class ImageTarget(Target):
    """An image file of any format."""

    name = "image"

    def make(self) -> Sequence[bytes]:
        image = _scene()
        found = []
        for suffix in (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".ras", ".gif", ".jp2"):
            with contextlib.suppress(cv2.error):  # a format that this OpenCV does not write
                done, data = cv2.imencode(suffix, image)
                if done:
                    found.append(bytes(data))
        png, webp = (bytes(cv2.imencode(suffix, image)[1]) for suffix in (".png", ".webp"))
        found += [png_with_exif(png, 6), webp_with_exif(webp, (_SIDE, _SIDE), 3), tiff(image)]
        return [*found, *huge_headers(3000, 2000).values()]

    def run(self, data: bytes) -> object:
        from ghost_deploy.processing.images import read_image

        (self.folder / "image").write_bytes(data)
        return read_image(self.folder / "image").shape


class MjpegTarget(Target):
    """What a camera sends: parts of a multipart answer."""

    name = "mjpeg"
    tokens = (
        b"--frame\r\n",
        b"\xff\xd8\xff\xe0",
        b"\xff\xd9",
        b"Content-Length: 9999999999\r\n",
        b"\r\n\r\n",
        b"Content-Length: 0\r\n",
        b"\xff\xda",
    )

    def make(self) -> Sequence[bytes]:
        from tests.support.camera_servers import part

        return [b"".join(part(number, (32, 64)) for number in range(3))]

    def run(self, data: bytes) -> object:
        from ghost_deploy.processing.decode_image import decode_image
        from ghost_deploy.stream.sources.jpeg import JpegSplitter

        splitter, seen = JpegSplitter(), 0
        for at in range(0, len(data), 1000):
            for image in splitter.feed(data[at : at + 1000]):
                if image is not None:
                    seen += 1
                    with contextlib.suppress(gd.ImageError):
                        decode_image(image)
        return seen


class VideoTarget(Target):
    """A short video file."""

    name = "video"

    def make(self) -> Sequence[bytes]:
        found = []
        for suffix, code in (
            (".mp4", "mp4v"),
            (".avi", "MJPG"),
            (".mkv", "MJPG"),
            (".avi", "XVID"),
        ):
            path = self.folder / f"made{suffix}"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (_SIDE, _SIDE))
            for index in range(5):
                writer.write(np.roll(_scene(), index, axis=1))
            writer.release()
            if path.exists() and path.stat().st_size > 500:
                found.append(path.read_bytes())
        return found

    def run(self, data: bytes) -> object:
        from ghost_deploy.stream.policy import LivePolicy
        from ghost_deploy.stream.sources.source_table import SourceAddress, open_source

        path = self.folder / "video.mp4"
        path.write_bytes(data)
        reader = open_source(SourceAddress("video", str(path), "video.mp4"), LivePolicy())
        try:
            count = 0
            while count < 40 and reader.grab() is not None:
                if not reader.is_broken:
                    reader.load()
                count += 1
            return count
        finally:
            reader.close()


class CheckpointTarget(Target):
    """A checkpoint as torch writes it, and one of ours, looked into."""

    name = "checkpoint"
    tokens = (
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"\x80\x04",
        b"(",
        b"R",
        b"b",
        b".",
        b"2",
        b"0",
        b"j\xff\xff\xff\x7f",
        b"]",
        b"}",
        b"\x85",
        b"Q",
        b"\x94",
        b"PK\x01\x02",
        b"PK\x05\x06",
    )

    def make(self) -> Sequence[bytes]:
        import torch
        from torch import nn

        from ghost_deploy.demo.embedded import MODEL_FILE

        found = []
        for stored in (
            {"model": {"a": torch.zeros(3, 4)}, "epoch": 3},
            nn.Sequential(nn.Conv2d(3, 4, 1)),
        ):
            buffer = io.BytesIO()
            torch.save(stored, buffer)
            found.append(buffer.getvalue())
        # The header, and too few weights: each case must be short.
        return [*found, MODEL_FILE.read_bytes()[:200_000]]

    def run(self, data: bytes) -> object:
        (self.folder / "best.pt").write_bytes(data)
        return bool(gd.inspect(self.folder / "best.pt").exportable)


class StatisticsTarget(Target):
    """Statistics of a calibration, which carry a hash."""

    name = "statistics"
    exact = True

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.calib.ranges.histogram import TensorStatistics
        from ghost_deploy.calib.ranges.statistics_file import Statistics, StatisticsKey

        key = StatisticsKey(model="m", images="i", preprocessing="p", tensors="t", collector=1)
        values = np.random.default_rng(0).normal(0, 3, 5000).astype(np.float32)
        Statistics(key, {"a": TensorStatistics.of(values)}, 3).save(self.folder / "s")
        return [(self.folder / "s").read_bytes()]

    def run(self, data: bytes) -> object:
        from ghost_deploy.calib.ranges.statistics_file import Statistics

        (self.folder / "s").write_bytes(data)
        found = Statistics.load(self.folder / "s")
        one = found.tensors["a"]
        return found.key, found.images, one.count, one.minimum, one.maximum, one.counts.tobytes()


class CalibrationCacheTarget(Target):
    """A calibration cache for TensorRT."""

    name = "trtcache"
    tokens = (
        b"TRT-",
        b"EntropyCalibration2",
        b": ",
        b"7f800000",
        b"\n",
        b"\x00",
        b"zz",
        b"f" * 5000,
    )

    def make(self) -> Sequence[bytes]:
        return [b"TRT-100300-EntropyCalibration2\nimages: 3c010a14\noutput0: 3f000000\n"]

    def run(self, data: bytes) -> object:
        from ghost_deploy.runtimes.tensorrt.calibration_cache import read_calibration_cache

        (self.folder / "c").write_bytes(data)
        return len(read_calibration_cache(self.folder / "c").scales)


class ModelCacheTarget(Target):
    """OpenVINO's compiled model in the cache: what it computes is what it computed."""

    name = "model-cache"
    exact = True

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.runtimes.base import RuntimeOptions
        from tests.support.constant_model import write_constant_onnx

        self._model = write_constant_onnx(self.folder / "m.onnx")
        self._options = RuntimeOptions(cache_dir=self.folder / "cache")
        self._infer()
        self._blob = max((self.folder / "cache").rglob("*.blob"), key=lambda p: p.stat().st_size)
        return [self._blob.read_bytes()]

    def _infer(self) -> bytes:
        from ghost_deploy.runtimes.openvino import open_model

        image = np.full((1, 3, _SIDE, _SIDE), 0.5, np.float32)
        with contextlib.closing(open_model(self._model, self._options)) as runtime:
            return b"".join(each.tobytes() for each in runtime.run({"images": image}).values())

    def run(self, data: bytes) -> object:
        self._blob.write_bytes(data)
        return self._infer()


class WebTarget(Target):
    """What visitors send to the web view; afterwards it must answer as before."""

    name = "web"
    tokens = (
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: evil\r\n",
        b"HTTP/9.9",
        b"%00",
        b"/../",
        b"\x00",
        b"GET http://a/ HTTP/1.1\r\n",
        b"Cookie: \xff\xfe=1\r\n",
        b"Authorization: Basic \xff\r\n",
        b"Range: bytes=0-\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"X" * 70_000,
        b"POST",
        b"HEAD",
        b"OPTIONS",
        b"?after=1e9",
        b"?after=" + b"9" * 5000,
        b"Connection: close\r\n",
    )
    _HEAD = b"Host: localhost\r\nAuthorization: Bearer " + b"a" * 20 + b"\r\n"
    _ASK = b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + _HEAD + b"\r\n"

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.stream.web.web_view import WebViewSink
        from tests.stream.test_web_parts import CARD

        self._errors = _Records()
        logging.getLogger().addHandler(self._errors)
        self._stack.callback(logging.getLogger().removeHandler, self._errors)
        self._view = WebViewSink("127.0.0.1:0", CARD, token="a" * 20)
        self._stack.callback(self._view.close)
        paths = (b"/", b"/api/status", b"/api/images?after=0", b"/metrics", b"/app.js", b"/healthz")
        found = [b"GET " + path + b" HTTP/1.1\r\n" + self._HEAD + b"\r\n" for path in paths]
        login = (
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\ntoken="
        )
        return [*found, b"POST /login HTTP/1.1\r\n" + self._HEAD + login + b"a" * 20]

    def run(self, data: bytes) -> object:
        self._send(data, wait_s=0.05)
        if not self._send(self._ASK, wait_s=20).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("/livez is not answered any more")
        if self._errors.texts:
            raise RuntimeError(f"logged: {self._errors.texts.pop()}")
        return None

    def _send(self, data: bytes, wait_s: float) -> bytes:
        place = (self._view.address.host, self._view.address.port)
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection(place, wait_s) as connection:
            connection.settimeout(wait_s)
            connection.sendall(data)
            while len(answer) < 1 << 20 and (more := connection.recv(1 << 16)):
                answer += more
        return answer


class _Records(logging.Handler):
    """Keeps the errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def _named(kinds: Sequence[type[Target]]) -> Iterator[tuple[str, Callable[[], Target]]]:
    for kind in kinds:
        yield kind.name, functools.partial(kind)


_ALL: tuple[type[Target], ...] = (
    BundleDocumentTarget,
    InspectedBundleTarget,
    ReportTarget,
    SpecTarget,
    DataYamlTarget,
    LabelsTarget,
    CocoTarget,
    ImageTarget,
    MjpegTarget,
    VideoTarget,
    CheckpointTarget,
    StatisticsTarget,
    CalibrationCacheTarget,
    WebTarget,
    ModelCacheTarget,
)

TARGETS: dict[str, Callable[[], Target]] = dict(
    _named([*_ALL, *([SignedBundleTarget] if shutil.which("ssh-keygen") else [])])
)
"""What can be fuzzed here, by name."""
