"""A board with another processor: an SSH server whose account has an emulated ARM Python."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scenes import make_scene
from tests.support.emulation import emulate, needs_qemu
from tests.support.ssh_board import SshBoard, ssh_board

pytestmark = [needs_qemu, pytest.mark.slow]


@pytest.fixture
def arm_board() -> Iterator[SshBoard]:
    """An account whose `python3` is Debian's for arm64 on an emulated Cortex-A76."""
    kept = os.environ.get("GHOST_DEPLOY_EMULATION", "")
    if not kept:
        pytest.skip("GHOST_DEPLOY_EMULATION names no folder for Debian's system of ARM")
    tool = emulate()
    system = Path(kept) / "arm64"
    python = tool.arm_python(system)
    with ssh_board() as board:
        root = board.home / "arm"
        shutil.copytree(system, root, symlinks=True)
        processor = tool.PROCESSORS["cortex-a76"]
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc" / "cpuinfo").write_text(processor.cpuinfo)
        for core in range(2):
            registers = root / f"sys/devices/system/cpu/cpu{core}/regs/identification"
            registers.mkdir(parents=True, exist_ok=True)
            (registers / "midr_el1").write_text(f"{processor.midr}\n")
        # A script in the place of the program, with its name: environments link to it.
        script = root / "usr" / "bin" / "python3"
        script.write_text(
            f"#!/bin/sh\nexec {processor.qemu} -cpu {processor.cpu} -0 \"$0\" -L '{root}' "
            f"'{script.with_name(python.name)}' \"$@\"\n"
        )
        script.chmod(0o755)
        board.restart_with(PATH=f"{script.parent}:/usr/bin:/bin", OMP_NUM_THREADS="1")
        yield board


def test_check_on_another_processor(
    arm_board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wheels are resolved and carried for aarch64, and fp32 is verified there."""
    monkeypatch.setenv("GHOST_DEPLOY_SSH", arm_board.command)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        cv2.imwrite(str(images / f"{number}.png"), make_scene(number).image)
    bundle = tmp_path / "best"
    gd.export(MODEL_FILE, bundle, ["onnx"], ["fp32"], imgsz=160, images=images)
    kept = Path(os.environ["GHOST_DEPLOY_EMULATION"]) / "wheels-arm64"
    words = ["check", str(bundle), "--on", arm_board.address(), "--wheels", str(kept)]
    assert main([*words, "--no-speed", "--timeout", "1800"]) == 0
    assert any("aarch64" in path.name for path in kept.glob("onnxruntime-*.whl"))
    boards = Bundle.read(bundle).evidence.boards
    assert boards is not None
    (record,) = boards.boards
    assert (record.board.architecture, record.board.processor) == ("aarch64", "Cortex-A76")
    assert record.check is not None
    assert record.check.machine.machine.architecture == "aarch64"
    assert [row.status for row in record.check.rows] == ["verified"]
    assert not arm_board.processes()
