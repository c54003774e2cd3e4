"""Settings of all tests: none fails for being slow; eval/bench measures times."""

import os
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

from tests.fixtures.portability import mark_posix_tests

# The environment of the real vLLM has no Hypothesis, and its tests need none.
with suppress(ModuleNotFoundError):
    from hypothesis import settings

    settings.register_profile("project", deadline=None)
    settings.load_profile("project")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that skips where everything it needs was installed for it."""
    report = yield
    if os.environ.get("GEN_MSA_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that do not run on Windows."""
    mark_posix_tests(items)
