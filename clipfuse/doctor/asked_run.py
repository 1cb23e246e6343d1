"""What a run's models said of rows that they had not seen."""

from __future__ import annotations

import numpy as np

from clipfuse.data.split import ROLES
from clipfuse.doctor.subject import OutOfFold
from clipfuse.run import Run
from clipfuse_cache import Samples


def ask_run(run: Run, samples: Samples) -> OutOfFold | None:
    """What a run's models said of rows that they had not seen: in a cross-validation of every row, otherwise of
    validation and test rows, and of training rows what the parts of a stacked fusion said out of fold (their mean).
    None where the run knows other labels, or none of the rows.

    Raises:
        RunError: it is damaged.
    """
    found = run.predictions()
    names = set(samples.label_names)
    place = {name: row for row, name in enumerate(samples.ids)}
    if samples.labels is None or not names.issuperset(run.labels):
        return None
    said = found.probabilities.astype(np.float64)
    train = found.roles == ROLES.index("train")
    if found.parts:
        with np.errstate(invalid="ignore"):
            said[train] = found.out_of_fold[train].mean(axis=1)
    else:
        said[train] = np.nan
    known = [(here, place[name]) for here, name in enumerate(found.ids) if name in place]
    if not known:
        return None
    here, there = map(list, zip(*known, strict=True))
    column = [samples.label_names.index(name) for name in run.labels]
    full = np.full(samples.labels.shape, np.nan)
    full[np.ix_(there, column)] = said[here]
    return OutOfFold(full, f"the models of {run.name}")
