"""All checks, one after the other."""

from __future__ import annotations

from clipfuse.doctor.conflicts import conflicting_labels
from clipfuse.doctor.duplicates import equal_captions, equal_pictures, similar_inputs
from clipfuse.doctor.finding import Finding
from clipfuse.doctor.misfits import misfits
from clipfuse.doctor.missing_parts import missing_parts
from clipfuse.doctor.odd_sizes import odd_captions, odd_pictures
from clipfuse.doctor.rare_labels import rare_labels
from clipfuse.doctor.subject import Subject
from clipfuse.doctor.wrong_labels import suspects_by_label, wrong_labels
from clipfuse.inputs import Progress, no_progress
from clipfuse.leaks import SIMILARITY


def examine(
    subject: Subject,
    *,
    similarity: float = SIMILARITY,
    products: int | None = None,
    progress: Progress = no_progress,
) -> list[Finding]:
    """Every check of the data.

    Args:
        subject: the rows and what is known of them.
        similarity: cosine of centred features from which rows are near-duplicates.
        products: multiplications that a search for near-duplicates may take, beyond which it is left out; None for
            none.
        progress: called as pictures are looked at.

    Raises:
        CacheCorrupt: a shard is damaged.
    """
    return [
        equal_pictures(subject),
        equal_captions(subject),
        similar_inputs(subject, "image", similarity, products),
        similar_inputs(subject, "text", similarity, products),
        conflicting_labels(subject, "image"),
        conflicting_labels(subject, "text"),
        wrong_labels(subject),
        suspects_by_label(subject),
        misfits(subject),
        rare_labels(subject),
        missing_parts(subject),
        odd_pictures(subject, progress),
        odd_captions(subject),
    ]
