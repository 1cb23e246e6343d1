"""Pictures with another one's caption."""

import numpy as np

from clipfuse.doctor.misfits import chance_pairs, fitting_shares, misfits
from clipfuse.doctor.subject import Subject
from clipfuse.encoders import EncoderSpec, Shape
from clipfuse_cache import Shard


def directions(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write_clip(cache, samples, values, weights="cd"):
    """Projected features of both modalities by what is called one encoder."""
    for modality in ("image", "text"):
        spec = EncoderSpec(
            name="clip", modality=modality, backend="open_clip", model={"name": "clip"}, weights=weights * 32,
            weights_bytes=10, activation="gelu", preprocessing={"size": 1}, precision="float32",
            shapes={"projected": Shape(1, values[modality].shape[1])},
        )  # fmt: skip
        digests = samples.input_digests(modality)
        about = spec.describe("projected", "float32", {})
        writer = cache.writer(about, samples.ids, digests, shard_rows=1000, batch_size=50)
        writer.begin()
        rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        valid = np.ones(len(samples), dtype=bool)
        writer.write(0, Shard(samples.ids, rows, values[modality][:, None].astype(np.float32), valid))
        writer.commit()


def test_mixed_up_captions_are_found(build_toy, tmp_path):
    toy = build_toy(tmp_path / "cache", rows=400, modalities=())
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(400, 48))
    mixed = rng.choice(400, 20, replace=False)
    said = meaning.copy()
    said[mixed] = meaning[np.roll(mixed, 1)]
    values = {"image": meaning + rng.normal(size=meaning.shape), "text": said + rng.normal(size=said.shape)}
    assert "no projected features" in misfits(Subject(toy.cache, toy.samples)).skipped
    write_clip(toy.cache, toy.samples, values)
    finding = misfits(Subject(toy.cache, toy.samples, toy.split()))
    found = {row[2] for row in finding.rows}
    true = {toy.ids[row] for row in mixed}
    assert len(found & true) >= 17 and len(found - true) <= 5
    shares = [row[0] for row in finding.rows]
    assert shares == sorted(shares, reverse=True) and finding.looked_at == 400


def test_shares_of_others_that_fit_as_well():
    eye = np.eye(6, dtype=np.float32)
    assert fitting_shares(eye, eye).tolist() == [0] * 6
    swapped = eye[[1, 0, 2, 3, 4, 5]]
    shares = fitting_shares(eye, swapped)
    assert shares[0] == shares[1] == 1 and shares[2:].tolist() == [0] * 4  # nothing fits worse than not at all
    some = fitting_shares(eye, swapped, others=3)
    assert some[0] == 1 and (some[2:] == 0).all()


def test_chance_tells_how_many():
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.random(100), 0.05 * rng.random(900)])
    chance, cut = chance_pairs(shares)
    assert 0.07 < chance < 0.13 and 0.03 < cut < 0.15
    assert chance_pairs(np.zeros(10)) == (0.0, np.inf)
    chance, cut = chance_pairs(rng.random(1000))
    assert chance > 0.9 and cut < 0.01
