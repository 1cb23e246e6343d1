import inspect
import re

import pytest

import clipfuse_cache.errors
from clipfuse import errors


def classes():
    return {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def test_the_tree_in_the_docstring_is_the_tree():
    parents = {}
    stack = []
    for line in errors.__doc__.split("::\n", 1)[1].splitlines():
        match = re.match(r"([ │├└─]*)([A-Z]\w+)", line)
        if not match:
            continue
        depth = len(match[1])
        stack = [(level, name) for level, name in stack if level < depth]
        parents[match[2]] = stack[-1][1] if stack else None
        stack.append((depth, match[2]))
    assert parents == {
        name: kind.__base__.__name__ if name != "ClipfuseError" else None for name, kind in classes().items()
    }


def test_every_error_is_exported_and_documented():
    assert set(errors.__all__) == set(classes())
    assert all(kind.__doc__ for kind in classes().values())


def test_the_root_is_the_caches():
    assert errors.ClipfuseError is clipfuse_cache.errors.ClipfuseError
    assert all(issubclass(kind, errors.ClipfuseError) for kind in classes().values())


@pytest.mark.parametrize("kind", classes().values())
def test_problem_and_fix_are_one_line(kind):
    error = kind("x.csv has no rows", "Give it some")
    assert str(error) == "x.csv has no rows. Give it some"
    assert (error.problem, error.fix) == ("x.csv has no rows", "Give it some")
    assert str(kind("x.csv has no rows")) == "x.csv has no rows"
