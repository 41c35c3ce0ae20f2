from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

import pytest

from ghost_deploy.judge.bench.power import INTERVAL_S, Sampler, power_figures, sampling
from ghost_deploy.judge.bench.tegrastats import TegraSample, parse_line
from tests.support import tegrastats_lines as lines


def parsed(*texts: str) -> list[TegraSample]:
    return [sample for text in texts if (sample := parse_line(text))]


def test_no_sample_no_figures() -> None:
    assert power_figures([], 10.0) is None


def test_figures() -> None:
    busy = lines.JP6_ORIN_NANO.replace("GR3D_FREQ 99%", "GR3D_FREQ 49%")
    busy = busy.replace("VDD_IN 16321mW", "VDD_IN 14321mW").replace("gpu@58.625C", "gpu@60C")
    found = power_figures(parsed(lines.JP6_ORIN_NANO, busy), images_per_second=100.0)
    assert found is not None
    assert found.samples == 2
    assert found.watts == pytest.approx(15.321)
    assert found.rails == ("VDD_IN",)
    assert found.joules_per_image == pytest.approx(0.15321)
    assert found.gpu_load == 74
    assert found.temperature_c == 60


def test_a_board_that_tells_no_total_and_no_load() -> None:
    found = power_figures(parsed(lines.JP71_THOR_IDLE), 100.0)
    assert found is not None
    assert (found.watts, found.rails, found.joules_per_image) == (None, (), None)
    assert found.gpu_load is None
    assert found.temperature_c == 34.5


def test_a_line_belongs_to_the_turn_that_it_tells_of() -> None:
    clock = count(1)  # a line a second
    sampler = Sampler(
        iter([lines.JP72_THOR, "noise", lines.JP6_ORIN_NANO] * 2), lambda: next(clock)
    )
    sampler.join()
    assert sampler.within([]) == []
    assert len(sampler.within([(0.0, 9.0)])) == 4
    assert sampler.within([(2.0 - INTERVAL_S, 2.0)]) == parsed(lines.JP6_ORIN_NANO)
    assert sampler.within([(2.0 - INTERVAL_S / 2, 2.0)]) == []
    assert sampler.within([(0.0, 1.0), (2.5, 3.0)]) == parsed(lines.JP72_THOR) * 2


def test_a_machine_without_tegrastats() -> None:
    with sampling("no-such-tegrastats") as sampler:
        assert sampler is None


def test_a_program_is_run_and_stopped(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/words\necho $$ > {tmp_path}/pid\n'
        f"while :; do echo '{lines.JP6_ORIN_NANO}'; sleep 0.05; done\n"
    )
    program.chmod(0o755)
    with sampling(str(program)) as sampler:
        assert sampler is not None
        while not sampler.within([(0.0, time.monotonic())]):
            time.sleep(0.01)
    assert (tmp_path / "words").read_text().split() == ["--interval", "100"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
