from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module beside this file."""
    import toy

    return toy
