import numpy as np
import pytest
import torch

from clipfuse.errors import ConfigError, TrainingError
from clipfuse.stream_tables import StreamTables
from clipfuse.train_head import train_head
from clipfuse.training.rows_on_disk import RowsOnDisk, block_bounds, locate_rows, row_bytes
from clipfuse_cache import Places


def places(shard_sizes):
    shards = np.repeat(np.arange(len(shard_sizes)), shard_sizes).astype(np.int32)
    rows = np.concatenate([np.arange(size) for size in shard_sizes]).astype(np.int32)
    return Places(shards, rows, np.ones(len(rows), dtype=np.bool_))


@pytest.mark.parametrize("shard_sizes", [[7], [4, 4, 4, 1], [1, 9, 2], [3, 3, 3, 3, 3]])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 8, 100])
def test_blocks_hold_every_row_once_and_no_more_than_fit(shard_sizes, most):
    bounds = block_bounds(places(shard_sizes), row_bytes=10, memory_bytes=10 * 3 * most)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(sum(shard_sizes)))
    assert all(0 < stop - start <= most for start, stop in bounds)


def test_blocks_are_whole_shards_where_these_fit():
    assert block_bounds(places([4, 4, 4, 1]), 1, 3 * 9) == [(0, 8), (8, 13)]
    assert block_bounds(places([4, 4, 4, 1]), 1, 3 * 13) == [(0, 13)]
    assert block_bounds(places([4, 4, 4, 1]), 1, 3 * 5) == [(0, 4), (4, 8), (8, 13)]


def on_disk(cache, memory_bytes):
    tables = StreamTables({table.description.modality: table for table in cache.tables()})
    samples = cache.samples()
    found, order = locate_rows(tables, samples.ids)
    ids = [samples.ids[row] for row in order]
    targets = torch.from_numpy(samples.labels[order].astype(np.float32))
    bounds = block_bounds(next(iter(found.values()))[0], row_bytes(tables), memory_bytes)
    return ids, RowsOnDisk(tables, found, targets, bounds)


BLOCK = 3 * (10 + 8) * 2 * 45
"""Bytes of memory in which a block has 45 rows."""


def test_blocks_give_what_the_tables_hold(toy):
    ids, rows = on_disk(toy.cache, BLOCK)
    blocks = list(rows.blocks())
    assert len(blocks) == len(rows.bounds) > 2
    assert rows.dims == {"image": 10, "text": 8}
    for name, table in rows.tables.items():
        whole = table.take(ids)
        values = torch.cat([block.streams.values[name] for block in blocks])
        assert np.array_equal(values.numpy(), whole.values)
        assert np.array_equal(rows.present[name].numpy(), whole.valid)
        assert np.array_equal(torch.cat([block.streams.present[name] for block in blocks]).numpy(), whole.valid)


def test_a_generator_draws_the_order_of_blocks(toy):
    _, rows = on_disk(toy.cache, BLOCK)
    orders = {tuple(block.start for block in rows.blocks(torch.Generator().manual_seed(seed))) for seed in range(20)}
    assert all(sorted(order) == [start for start, _ in rows.bounds] for order in orders)
    assert len(orders) > 3


def test_a_limit_of_memory_changes_where_features_are_and_not_what_is_learned(build_toy, settings, tmp_path):
    toy = build_toy(tmp_path / "cache", without={"image": 0.2})
    split, scores, runs = toy.split(), [], []
    for memory_gb in (None, BLOCK / 1e9):
        config = settings("sum", epochs=12).model_copy(update={"memory_gb": memory_gb})
        runs.append(train_head(toy.cache, toy.samples, split, config, runs=tmp_path / "runs"))
        scores.append(runs[-1].metrics["scores"]["test"]["scores"]["micro_f1"])
    assert min(scores) > 0.8
    assert abs(scores[0] - scores[1]) < 0.1
    kept, blocks = (run.predictions() for run in runs)
    assert sorted(kept.ids) == sorted(blocks.ids)
    roles = [dict(zip(found.ids, found.roles.tolist(), strict=True)) for found in (kept, blocks)]
    assert roles[0] == roles[1]
    assert runs[0].metrics["missing"] == runs[1].metrics["missing"]
    assert runs[0].metrics["truth"] == runs[1].metrics["truth"]


def test_blocks_of_single_rows_can_not_train_folds(build_toy, settings, tmp_path):
    """Each row is kept from one of the learners that are trained side by side."""
    toy = build_toy(tmp_path / "cache", rows=20)
    config = settings("sum").model_copy(update={"memory_gb": 1e-7})
    with pytest.raises(TrainingError, match=r"no block with rows of every fold.*memory-gb"):
        train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path / "runs")


def test_estimators_say_that_they_need_all_features_at_once(toy, settings, tmp_path):
    config = settings("concat", "knn").model_copy(update={"memory_gb": BLOCK / 1e9})
    with pytest.raises(ConfigError, match="don't fit into the memory"):
        train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path)
    assert not list(tmp_path.iterdir())
