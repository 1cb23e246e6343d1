"""Each field of the fingerprint changed: another table, and never a resume or a read across the two."""

from __future__ import annotations

import pytest

from clipfuse_cache import CacheMissing, FeatureCache, FingerprintMismatch
from clipfuse_cache.fingerprint import fingerprint


def variants(encoder):
    """(the field's name, the description with that field changed, taken out or added to)."""
    for field, value in encoder.items():
        yield field, {**encoder, field: "something else" if field != "storage" else "float32"}
        if field not in ("modality", "output"):  # no description is without
            yield field, {key: kept for key, kept in encoder.items() if key != field}
        if isinstance(value, dict):
            yield field, {**encoder, field: {**value, "more": 1}}
            for key in value:
                yield field, {**encoder, field: {**value, key: "something else"}}
    yield "more", {**encoder, "more": 1}


def describe(toy, encoder):
    about = toy.description()
    return type(about)(about.name, fingerprint(encoder), encoder, about.tokens, about.dim, about.dtype)


def test_it_is_refused_and_named(toy, tmp_path, figures):
    texts, found = toy.inputs(8), 0
    complete, unfinished = tmp_path / "tables" / "toy", tmp_path / "other" / "toy"
    toy.extract(complete, texts)
    toy.extract(unfinished, texts, stop_after=1)
    before = toy.files(complete), toy.files(unfinished)
    for field, encoder in variants(toy.ENCODER):
        wanted = describe(toy, encoder)
        assert wanted.fingerprint != toy.description().fingerprint
        for folder in (complete, unfinished):
            with pytest.raises(FingerprintMismatch, match=f"{field}: .*, not "):
                toy.extract(folder, texts, wanted)
        with pytest.raises((FingerprintMismatch, CacheMissing)) as caught:
            FeatureCache(tmp_path).table(wanted)
        assert type(caught.value) is FingerprintMismatch and f"({field}: " in caught.value.problem
        found += 1
    assert (toy.files(complete), toy.files(unfinished)) == before
    figures("e. fingerprint", f"{found} changes of {len(toy.ENCODER)} fields refused and named")


def test_it_is_a_table_of_its_own(toy, tmp_path):
    cache, texts = FeatureCache(tmp_path), toy.inputs(8)
    digests = [toy.digest_of(text) for text in texts.values()]
    encoders = [toy.ENCODER, *(encoder for _, encoder in variants(toy.ENCODER))]
    folders = set()
    for encoder in encoders:
        writer = cache.writer(describe(toy, encoder), tuple(texts), digests, shard_rows=4, batch_size=2)
        assert writer.missing() == [0, 1]
        folders.add(writer.folder)
        toy.extract(writer.folder, texts, describe(toy, encoder))
    assert len(folders) == len(encoders) == len(cache.tables())
