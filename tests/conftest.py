"""What holds for all tests: a cache of their own, and no limit on the time of an example."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# While eleven thousand tests are collected nothing becomes garbage, but Python would look through
# all of them again and again. Afterwards they and the modules are left out of each later look.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, of what comes from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def temporary_user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models, statistics and what else `cache_dir` keeps go to a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
