import pytest

from clipfuse.errors import ConfigError, UnknownName
from clipfuse.registry import Registry, did_you_mean


def test_entries_are_found_by_name():
    registry = Registry("head")

    @registry.register("one")
    def one():
        return 1

    registry.register("two")(two := object())
    assert registry.get("one") is one
    assert registry.get("two") is two
    assert list(registry) == ["one", "two"]
    assert registry.entries() == [one, two]
    assert "one" in registry and "three" not in registry
    assert len(registry) == 2


def test_a_duplicate_names_the_first_owner():
    registry = Registry("head")

    @registry.register("mlp")
    def first_owner():
        pass

    with pytest.raises(ValueError, match=r"head 'mlp' is already registered by .*first_owner"):
        registry.register("mlp")(lambda: None)
    assert registry.get("mlp") is first_owner


def test_an_unknown_name_gets_the_nearest():
    registry = Registry("fusion")
    registry.register("concat")(1)
    registry.register("sum")(2)
    with pytest.raises(UnknownName, match=r"unknown fusion 'conact'\. Did you mean 'concat'\?"):
        registry.get("conact")
    with pytest.raises(ConfigError, match=r"unknown fusion 'zzz'\. Known: concat, sum"):
        registry.get("zzz")


def test_did_you_mean():
    assert did_you_mean("imge", ["text", "image"]) == "Did you mean 'image'?"
    assert did_you_mean("q", ["b", "a"]) == "Known: a, b"
