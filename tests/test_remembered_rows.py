"""Rows are read again only for who asks for others."""

from dataclasses import replace

import pytest
import torch

from clipfuse.config import SplitConfig
from clipfuse.remembered_rows import RememberedRows
from clipfuse.select_streams import select_streams
from clipfuse.splits import find_split
from clipfuse.train_config import TrainConfig
from clipfuse_cache import FeatureCache


@pytest.fixture
def ask(tmp_path, build_toy):
    """``ask(fusion, changes…)`` -> what one :class:`RememberedRows` gives for a toy."""
    build_toy(tmp_path / "toy", rows=40)
    cache = FeatureCache(tmp_path / "toy")
    given = {"samples": cache.samples(), "device": "cpu"}
    given["split"] = find_split(cache, given["samples"], SplitConfig(), None)
    remembered = RememberedRows()

    def load(fusion, **changes):
        tables = select_streams(cache, TrainConfig.model_validate({"fusion": {"kind": fusion}}))
        return remembered.load(tables, **{**given, **changes})

    return load, given


def test_the_same_is_read_once(ask):
    load, _ = ask
    assert load("concat") is load("gated")


def test_another_question_gets_its_own_answer(ask):
    load, given = ask
    samples, split = given["samples"], given["split"]
    swapped = replace(split, roles={**split.roles, "train": split.roles["test"], "test": split.roles["train"]})
    others = (
        {"split": swapped},
        {"samples": replace(samples, labels=~samples.labels)},
        {"memory_gb": 1e-6},
        {"label_vectors": {"image": torch.ones(1)}},
    )
    for changes in others:
        first, other = load("concat"), load("concat", **changes)
        assert other is not first
    assert load("concat", split=swapped).ids[0] == split.roles["test"][0]
    assert not torch.equal(load("concat", **others[1]).rows.targets, load("concat").rows.targets)
    assert set(load("image").rows.present) == {"image"} and set(load("concat").rows.present) == {"image", "text"}
    assert load("concat", **others[3]).rows.label_vectors and not load("concat").rows.label_vectors
