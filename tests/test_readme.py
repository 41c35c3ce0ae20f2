"""README's commands, in its order and as written: they do what it says in a fresh folder.

Hosts and names of files are substituted, nothing else. `RUN` states what each line must end with;
no line of README is missing there. Lines that install are not run: what they name must be there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy import api
from ghost_deploy.api.int8_artifacts import Calibration, read_int8_inputs
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.camera_servers import RtspCamera, needs_rtsp_server
from tests.support.exports import shared_proved_bundle
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
REPORT = "ghost-deploy report out/best -o report.html"
"""The last line that is run without `slow`."""

RUN = {
    "make demo": 0,
    "make test": 0,
    'pip install -c constraints.txt -e ".[all]"': 0,
    'pip install -c constraints.txt ".[openvino,stream,web]"': 0,
    "ghost-deploy inspect best.pt": 0,
    "ghost-deploy export best.pt -o out/best --images images": 0,
    "ghost-deploy parity best.pt out/best --images images": 0,
    "ghost-deploy infer out/best images -o annotated --jsonl detections.jsonl": 0,
    "ghost-deploy calibrate out/best --calib images --data data.yaml": 0,
    "ghost-deploy validate out/best --data data.yaml": 0,
    "ghost-deploy bench out/best --images images": 0,
    REPORT: 0,
    "ghost-deploy build out/best --trt --fp16": 3,  # there is no GPU
    # Until it is stopped.
    "ghost-deploy infer out/best rtsp://camera/1 --serve 127.0.0.1:8080 --jsonl live.jsonl": 130,
    "ghost-deploy check out/best": 0,
    "ghost-deploy doctor": 0,
    "ghost-deploy export best.pt -o out/int8 --fp32 --int8 --calib images/train "
    "--data data.yaml": 0,
    "ghost-deploy calibrate out/best --calib images/train --max-drop 0.3 --overwrite": 0,
}
"""The exit code of each line."""


def readme_lines() -> list[str]:
    """The indented lines of README outside of Python blocks, without comments."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def test_no_line_of_readme_is_missing_here_and_none_is_invented() -> None:
    assert readme_lines() == list(RUN)


@pytest.mark.parametrize("line", [line for line in RUN if not line.startswith("ghost-deploy")])
def test_what_a_line_that_installs_names_is_there(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == RUN[line]
        return
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    asked = re.search(r"\.\[(.*)\]", words[-1])
    assert asked is not None
    assert set(asked[1].split(",")) <= set(extras)
    assert (ROOT / words[words.index("-c") + 1]).is_file()


def make_folder(folder: Path, count: int) -> Path:
    """A folder with what README's reader has: a checkpoint, images, labels, training images."""
    shutil.copy(GHOST, folder / "best.pt")
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "labels").mkdir()
    for path in val_images()[:count]:
        shutil.copy(path, folder / "images")
        shutil.copy(BCCD / "labels" / "val" / f"{path.stem}.txt", folder / "labels")
        os.symlink(path, folder / "images" / "train" / path.name)
    listed = "".join(f"./images/{path.name}\n" for path in val_images()[:count])
    (folder / "val.txt").write_text(listed)
    (folder / "data.yaml").write_text("path: .\nval: val.txt\nnames: [RBC, WBC, Platelets]\n")
    return folder


def lines_to(last: str) -> Iterator[str]:
    """The commands up to that one."""
    for line in RUN:
        if line.startswith("ghost-deploy"):
            yield line
        if line == last:
            return


@needs_assets
def test_up_to_the_report(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, on two images; what takes minutes is shared, short or only begun."""
    proved = shared_proved_bundle(tmp_path_factory)
    bench = api.bench

    def export(
        checkpoint: str, out: str, formats: Any, precisions: Any, *rest: Any, **_: Any
    ) -> Any:
        assert (checkpoint, rest[:2]) == ("best.pt", (None, "images"))
        assert (formats, precisions) == (("onnx", "openvino"), ("fp32", "fp16"))
        return Bundle.read(shutil.copytree(proved, out))

    def calibrate(bundle: str, calibration: Calibration, **_: Any) -> Bundle:
        read_int8_inputs(replace(calibration, allow_small=True), ("onnx", "openvino"))
        return Bundle.read(bundle)

    monkeypatch.chdir(make_folder(tmp_path, 2))
    monkeypatch.setattr(api, "export", export)
    monkeypatch.setattr(api, "calibrate", calibrate)
    short = {"duration_s": 0.1, "rounds": 2, "precisions": ["fp32"]}
    monkeypatch.setattr(api, "bench", lambda **options: bench(**{**options, **short}))
    for line in lines_to(REPORT):
        assert main(shlex.split(line)[1:]) == RUN[line], line
    assert len(list(Path("annotated").iterdir())) == 2
    assert len(Path("detections.jsonl").read_text().splitlines()) == 2
    assert {"parity", "accuracy", "latency"} <= Bundle.read("out/best").evidence.documents.keys()
    page = Path("report.html").read_text()
    assert all(text in page for text in ("mAP50-95", "ms, median", "Parity with the checkpoint"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_line(line: str, folder: Path) -> int:
    """Run a command; one that has no end is interrupted once it has written a line."""
    command = [sys.executable, "-m", "ghost_deploy.cli.main", *shlex.split(line)[1:]]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        if "live.jsonl" in line:
            lines = folder / "live.jsonl"
            wait_until(lambda: lines.is_file() and lines.stat().st_size > 0, 120)
            process.send_signal(signal.SIGINT)
        return process.wait()


@needs_assets
@pytest.mark.slow
def test_every_line(tmp_path: Path) -> None:
    needs_rtsp_server()
    folder = make_folder(tmp_path, 80)
    with RtspCamera() as camera:
        for line, code in RUN.items():
            if line.startswith("ghost-deploy"):
                here = line.replace("rtsp://camera/1", camera.address)
                here = here.replace(":8080", f":{free_port()}")
                began = time.monotonic()
                found = run_line(here, folder)
                print(f"{time.monotonic() - began:6.1f} s  {line}")
                assert found == code, f"{line}\n{(folder / 'log').read_text()[-3000:]}"
