"""A toy extraction over clipfuse_cache: an "encoder" whose features follow from a row's input digest alone.

Used by the tests (fixture ``toy``) and, as a script, by those that kill it: ``toy.py FOLDER ROWS SHARD_ROWS``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from clipfuse_cache import FeatureTable, Samples, Shard, TableDescription, TableWriter
from clipfuse_cache.fingerprint import NO_DIGEST, fingerprint, input_digest

ENCODER = {
    "modality": "text",
    "backend": "toy",
    "model": {"name": "toy", "layers": 2},
    "weights": "ab" * 32,
    "activation": "gelu",
    "preprocessing": {"context": 77},
    "precision": "float32",
    "view": "identity",
    "output": "pooled",
    "storage": "float16",
}


def description(tokens=1, dim=8, dtype="float16", name="toy", **changes):
    encoder = {**ENCODER, "storage": dtype, **changes}
    full = f"{name}/{encoder['modality']}/{encoder['output']}"
    return TableDescription(full, fingerprint(encoder), encoder, tokens, dim, dtype, {"toy": 1})


def inputs(rows, prefix="row"):
    """id -> text. Some inputs are absent (""), some can't be read ("broken …")."""
    texts = {}
    for row in range(rows):
        texts[f"{prefix}-{row}"] = "" if row % 7 == 3 else f"broken {row}" if row % 11 == 5 else f"text {prefix} {row}"
    return texts


def digest_of(text):
    return input_digest(text.encode()) if text else NO_DIGEST


def features_of(text, about):
    """(tokens, dim) of the table's dtype, and whether they are valid."""
    if not text or text.startswith("broken"):
        return np.zeros((about.tokens, about.dim), about.dtype), False
    seed = int.from_bytes(digest_of(text)[:4], "little")
    return np.random.default_rng(seed).standard_normal((about.tokens, about.dim)).astype(about.dtype), True


def make_shard(texts, about):
    """The shard of ``texts`` (id -> text)."""
    made = [features_of(text, about) for text in texts.values()]
    digests = b"".join(map(digest_of, texts.values()))
    return Shard(
        ids=tuple(texts),
        digests=np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16),
        values=np.stack([values for values, _ in made]),
        valid=np.array([valid for _, valid in made]),
        failures={row: "can't be read" for row, text in enumerate(texts.values()) if text.startswith("broken")},
        notes=notes_of(texts),
    )


def notes_of(texts):
    """note -> rows: "truncated" where a text ends in 2, and "blanks removed" where there are two of them or more."""
    readable = [(row, text) for row, text in enumerate(texts.values()) if text and not text.startswith("broken")]
    notes = {
        "truncated": tuple(row for row, text in readable if text.endswith("2")),
        "blanks removed": tuple(row for row, text in readable if text.count(" ") > 1),
    }
    return {word: rows for word, rows in notes.items() if rows}


def open_writer(folder, texts, about=None, shard_rows=4, batch_size=2, compiled=False):
    digests = [digest_of(text) for text in texts.values()]
    about = about or description()
    return TableWriter.open(
        folder, about, tuple(texts), digests, shard_rows=shard_rows, batch_size=batch_size, compiled=compiled
    )


def extract(folder, texts, about=None, shard_rows=4, batch_size=2, stop_after=None, on_shard=None):
    """Make the table complete; returns the ids that were encoded. Stops for good after ``stop_after`` shards."""
    writer = open_writer(folder, texts, about, shard_rows, batch_size)
    writer.begin()
    encoded = []
    names = list(texts)
    for done, index in enumerate(writer.missing()):
        if done == stop_after:
            return encoded
        ids = [names[row] for row in writer.rows_of(index)]
        writer.write(index, make_shard({name: texts[name] for name in ids}, writer.plan.table))
        encoded += ids
        if on_shard:
            on_shard(index)
    if stop_after is None:
        writer.commit()
    return encoded


def check(folder, texts):
    """Everything that the table in ``folder`` says about ``texts`` is right."""
    table = FeatureTable.open(folder)
    found = table.take(tuple(texts))
    for row, text in enumerate(texts.values()):
        values, valid = features_of(text, table.description)
        assert found.valid[row] == valid
        assert np.array_equal(found.values[row], values)
    broken = {name for name, text in texts.items() if text.startswith("broken")}
    assert {name for name in table.failures() if name in texts} == broken
    noted = {}
    for word, rows in sorted(notes_of(texts).items()):
        for row in rows:
            noted[list(texts)[row]] = (*noted.get(list(texts)[row], ()), word)
    assert {name: words for name, words in table.notes().items() if name in texts} == noted
    digests = table.input_digests()
    assert {name: digests[name] for name in texts} == {name: digest_of(text) for name, text in texts.items()}
    return table


def files(folder):
    """name -> bytes of every file, temporaries included."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def restore(folder, contents):
    """Make ``folder`` hold exactly ``contents`` (name -> bytes)."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in contents.items():
        (folder / name).write_bytes(data)


def samples(texts, labels=3):
    rows = len(texts)
    rng = np.random.default_rng(rows)
    return Samples(
        ids=tuple(texts),
        captions=tuple(text or None for text in texts.values()),
        labels=None if labels is None else rng.random((rows, labels)) < 0.4,
        label_names=tuple(f"label {n}" for n in range(labels or 0)),
        tables=("train.csv",),
        table_of=np.zeros(rows, np.uint16),
        lines=np.arange(2, rows + 2, dtype=np.uint32),
        image_digests=rng.integers(0, 256, (rows, 16), dtype=np.uint8),
        image_stamps=rng.integers(0, 2**63, rows, dtype=np.uint64),
        layout={"form": "list", "separator": None},
    )


def comparable(record):
    """A dataclass's fields as values that can be compared."""
    return {
        name: (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name in record.__dataclass_fields__
        for value in [getattr(record, name)]
    }


def main():
    folder, rows, shard_rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

    def say(index):
        print(index, flush=True)
        time.sleep(0.002)

    print("opened", flush=True)
    extract(folder, inputs(rows), shard_rows=shard_rows, on_shard=say)
    print("complete", flush=True)


if __name__ == "__main__":
    main()
