"""Rows that are the same thing twice, or nearly, within a role and across roles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import PAIR, Subject
from clipfuse.duplicates import tables_to_compare
from clipfuse.equal_inputs import Keys, caption_keys, connect_equal, picture_keys
from clipfuse.near_duplicates import Readable, centred, connect_similar

_WORDS = {"image": "pictures", "text": "captions"}
LISTED = 10_000
"""Pairs that are listed: a caption that many rows share makes very many."""
RANKED = 100_000
"""Pairs whose cosines are compared, those across roles first."""
_BLOCK = 8192  # pairs whose cosines are computed at once
_LEAK = (
    "Across roles, scores on the held-out row flatter: clipfuse train-head --group-duplicates keeps them on one side."
)


def equal_pictures(subject: Subject) -> Finding:
    """The same file on several rows."""
    about = Finding(
        "equal-pictures",
        "Equal pictures",
        f"Rows whose picture is the same file, byte for byte. Delete one, or join their labels. {_LEAK}",
        "pairs",
    )
    return _pairs(subject, about, connect_equal(picture_keys(subject.samples)), _present(picture_keys(subject.samples)))


def equal_captions(subject: Subject) -> Finding:
    """The same words on several rows."""
    about = Finding(
        "equal-captions",
        "Equal captions",
        "Rows with the same words, case and space left aside. Short captions are often equal by chance; long ones mean"
        f" that a row is there twice. {_LEAK}",
        "pairs",
    )
    keys = caption_keys(subject.samples)
    return _pairs(subject, about, connect_equal(keys), _present(keys))


def similar_inputs(subject: Subject, modality: str, similarity: float, products: int | None = None) -> Finding:
    """Rows whose features are nearly the same and whose inputs are not.

    Args:
        subject: the rows.
        modality: "image" or "text".
        similarity: cosine of centred features from which rows are near-duplicates.
        products: multiplications that the search may take; None for as many as it takes.

    Raises:
        CacheCorrupt: a shard is damaged.
    """
    words = _WORDS[modality]
    about = Finding(
        f"similar-{words}",
        f"Nearly equal {words}",
        f"Pairs of rows whose {words} have features with a cosine of {similarity:g} or more after their mean is taken"
        f" away, by every encoder that there is; equal ones are left out. Every pair was looked at. {_LEAK}",
        "pairs",
    )
    samples = subject.samples
    tables = tables_to_compare(subject.cache, samples, modality)
    if not tables:
        return about.without(f"the cache holds no complete features of {words}")
    if products is not None and len(subject) ** 2 // 2 * tables[0].description.dim > products:
        return about.without(f"{len(subject):,} rows take long; clipfuse doctor looks")
    readable = centred(tables, samples.ids)
    pairs = connect_similar(readable, similarity)
    keys = picture_keys(samples) if modality == "image" else caption_keys(samples)
    differ = [keys[one] != keys[other] for one, other in pairs.tolist()]
    pairs = pairs[np.array(differ, dtype=bool)]
    return _pairs(subject, about, pairs, int(readable[0].valid.sum()), readable[0])


def _pairs(
    subject: Subject, about: Finding, pairs: NDArray[np.int64], looked_at: int, features: Readable | None = None
) -> Finding:
    """Those across roles first, then, with ``features``, the most similar. All are counted, the first are listed."""
    roles = subject.roles()
    across = (roles[pairs[:, 0]] != roles[pairs[:, 1]]) & (roles[pairs] != "").all(axis=1)
    ranked = np.argsort(~across, kind="stable")[:RANKED]
    cosines = None
    if features is not None:
        cosines = _cosines(features, pairs[ranked])
        order = np.lexsort((-cosines, ~across[ranked]))
        ranked, cosines = ranked[order], cosines[order]
    rows: list[tuple[Value, ...]] = []
    for number, place in enumerate(ranked[:LISTED].tolist()):
        one, other = pairs[place].tolist()
        cells: list[Value] = [] if cosines is None else [round(float(cosines[number]), 4)]
        cells += [bool(across[place]), *subject.pair(one, other), subject.labels(one), subject.labels(other)]
        rows.append((*cells, subject.caption(one), subject.caption(other)))
    columns = [] if cosines is None else ["cosine"]
    columns += ["across roles", *PAIR, "labels", "other labels", "caption", "other caption"]
    detail = [f"{len(np.unique(pairs)):,} rows are in them"] if len(pairs) else []
    detail += [f"{int(across.sum()):,} across roles"] if subject.split is not None else []
    detail += [f"the first {LISTED:,} are listed"] if len(pairs) > LISTED else []
    return replace(about.found(columns, rows, looked_at, "; ".join(detail)), count=len(pairs))


def _cosines(features: Readable, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    found = np.zeros(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _BLOCK):
        some = pairs[start : start + _BLOCK]
        one, other = (np.asarray(features.read(some[:, side]), dtype=np.float32) for side in (0, 1))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        found[start : start + _BLOCK] = np.einsum("ij,ij->i", one, other) / np.maximum(lengths, 1e-30)
    return found


def _present(keys: Keys) -> int:
    return sum(key is not None for key in keys)
