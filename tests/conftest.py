"""What holds for all tests: nothing is written to the cache of the user who runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def temporary_user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models, statistics and what else `cache_dir` keeps go to a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
