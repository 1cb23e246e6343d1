from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module beside this file."""
    import toy

    return toy


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """In place of the one for all tests, which imports torch: the feature cache is tested without."""
