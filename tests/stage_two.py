"""Small, quick settings of stage two, for tests that train."""

from clipfuse.train_config import TrainConfig

SMALL = {
    "head": {"kind": "mlp", "hidden": [16]},
    "fit": {"epochs": 4, "learning_rate": 1e-2},
    "stacking": {"folds": 2, "fit": {"epochs": 3}},
}


def small(fusion="concat", **others):
    """TrainConfig of a small model."""
    fit = {**SMALL["fit"], **others.pop("fit", {})}
    head = {**SMALL["head"], **others.pop("head", {})}
    return TrainConfig.model_validate({**SMALL, "fusion": {"kind": fusion}, **others, "fit": fit, "head": head})


def same_predictions(run, cache):
    """(what the reopened run says of its rows, what it kept of that)."""
    from clipfuse.run import open_run
    from clipfuse.select_streams import read_streams
    from clipfuse.stream_tables import StreamTables

    opened, kept = open_run(run.path), run.predictions()
    tables = {name: cache.table(about) for name, about in opened.streams.items()}
    streams = read_streams(StreamTables(tables), kept.ids)
    return opened.predictor().probabilities(streams), kept.probabilities


def every_table(toy):
    """All feature tables of a toy's cache, as if a model read them."""
    from clipfuse.stream_tables import StreamTables

    found, count = {}, {}
    for table in toy.cache.tables():
        modality = table.description.modality
        count[modality] = count.get(modality, 0) + 1
        found[modality if count[modality] == 1 else f"{modality}-{count[modality]}"] = table
    return StreamTables(found)
