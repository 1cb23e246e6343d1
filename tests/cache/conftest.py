from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module beside this file (``--import-mode=importlib`` puts no test folder on the path)."""
    spec = importlib.util.spec_from_file_location("clipfuse_cache_toy", Path(__file__).with_name("toy.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """In place of the one for all tests, which imports torch: the feature cache is tested without."""
