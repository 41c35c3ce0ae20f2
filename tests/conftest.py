"""What holds for all tests: a cache of their own, and no limit on the time of an example.

`GHOST_DEPLOY_TESTS_WITHOUT=torch,onnxsim` names packages that an environment lacks on purpose:
what fails because one of them is not installed is skipped. `make test-oldest` uses it.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A shell starts what runs in its background with Ctrl-C ignored, and commands that tests start
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# While eleven thousand tests are collected nothing becomes garbage, but Python would look through
# all of them again and again. Afterwards they and the modules are left out of each later look.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, of what comes from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


LEAST_FREE_MIB = 2048


def pytest_configure() -> None:
    """Refuse to start on a disk that will be full: what fails then seems to be a fault of ours."""
    free = shutil.disk_usage(tempfile.gettempdir()).free >> 20
    if free < LEAST_FREE_MIB:
        raise pytest.UsageError(
            f"the tests need {LEAST_FREE_MIB} MiB of free disk in {tempfile.gettempdir()}: "
            f"{free} MiB are free. Free some, or set TMPDIR to a folder of another disk"
        )


LACKING = os.environ.get("GHOST_DEPLOY_TESTS_WITHOUT", "").split(",")
_NOT_INSTALLED = re.compile(
    f"(No module named|Python package) '({'|'.join(map(re.escape, LACKING))})[.']"
)


def skip_what_is_lacking(report: pytest.CollectReport | pytest.TestReport, place: Any) -> None:
    """Make a failure for want of a package in `LACKING` a skip."""
    found = _NOT_INSTALLED.search(str(report.longrepr)) if report.failed and any(LACKING) else None
    if found:
        report.outcome = "skipped"
        report.longrepr = (str(place), 0, f"{found[2]} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """A module that imports what is lacking."""
    report = yield
    skip_what_is_lacking(report, collector.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A test that needs what is lacking."""
    report = yield
    skip_what_is_lacking(report, item.path)
    return report


@pytest.fixture(scope="session", autouse=True)
def temporary_user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models, statistics and what else `cache_dir` keeps go to a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
