"""Which figures were measured here."""

import pytest

from clipfuse import machine
from clipfuse.machine import compared_machine, describe_machine, is_here, machine_words


def test_this_machine_is_here():
    here = compared_machine("cpu")
    assert is_here(here) and is_here(describe_machine("cpu"))
    assert describe_machine("cpu").items() >= here.items()


@pytest.mark.parametrize("change", [{"processor": "another"}, {"cores": 999}, {"device": "a GPU"}, {"device": None}])
def test_another_processor_count_of_cores_or_device_is_elsewhere(change, monkeypatch):
    monkeypatch.setattr(machine, "_gpu_names", frozenset)
    assert not is_here({**compared_machine("cpu"), **change})


def test_a_gpu_that_this_machine_has_is_here(monkeypatch):
    monkeypatch.setattr(machine, "_gpu_names", lambda: frozenset({"a GPU"}))
    assert is_here({**compared_machine("cpu"), "device": "a GPU"})


def test_words():
    assert machine_words({"processor": "P", "cores": 2, "device": "cpu"}) == "P, 2 cores"
    assert machine_words({"processor": "P", "cores": 2, "device": "a GPU"}) == "P, 2 cores, a GPU"
    assert machine_words({}) == "unknown processor, ? cores"
