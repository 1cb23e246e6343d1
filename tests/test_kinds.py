"""Registered kinds with settings of their own."""

import pytest

from clipfuse.errors import ConfigError, UnknownName
from clipfuse.kinds import Kinds
from clipfuse.settings import Choice, Settings


class SquareSettings(Settings):
    side: int = 2


@pytest.fixture
def shapes():
    kinds = Kinds("shape")

    @kinds.register("square", SquareSettings)
    def square(unit, settings):
        return f"{settings.side}{unit}"

    kinds.register("dot", Settings)(lambda unit, settings: ".")
    return kinds


def test_what_is_chosen_is_made_with_its_settings(shapes):
    assert shapes.build(Choice(kind="square", side=5), "cm") == "5cm"
    assert shapes.build(Choice(kind="square"), "cm") == "2cm"
    assert shapes.build(Choice(kind="dot"), "cm") == "."
    assert shapes.settings(Choice(kind="square", side=3)) == SquareSettings(side=3)
    assert list(shapes) == ["square", "dot"] and len(shapes) == 2 and "dot" in shapes and "cube" not in shapes


@pytest.mark.parametrize("use", ["settings", "build"])
def test_mistakes_are_named(shapes, use):
    def try_it(**values):
        return getattr(shapes, use)(Choice(**values), *(["cm"] if use == "build" else []))

    with pytest.raises(UnknownName, match=r"unknown shape 'squar'. Did you mean 'square'"):
        try_it(kind="squar")
    with pytest.raises(ConfigError, match=r"shape square: unknown setting 'sied'. Did you mean 'side'"):
        try_it(kind="square", sied=3)
    with pytest.raises(ConfigError, match=r"shape square: side is 'long'"):
        try_it(kind="square", side="long")


def test_a_name_is_taken_once(shapes):
    with pytest.raises(ValueError, match=r"shape 'dot' is already registered by .*test_kinds"):
        shapes.register("dot", Settings)(lambda unit, settings: ".")
