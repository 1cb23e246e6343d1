"""What a run said about the rows of its split, as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.split import ROLES, Role
from clipfuse.errors import CacheCorrupt, RunError
from clipfuse_cache import hdf5

VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """What a run said about the rows of its split.

    Attributes:
        ids: in split order.
        roles: (rows,) uint8 index into ``ROLES``.
        targets: (rows, labels) bool, the true labels.
        probabilities: (rows, labels) float32, from the model before any refit.
        folds: (rows,) int16, the fold that held a training row out (in a cross-validation: every row), -1 elsewhere.
        parts: names of the stacked parts.
        out_of_fold: (rows, parts, labels) float32, probabilities from models that had not seen the row; nan elsewhere.
    """

    ids: tuple[str, ...]
    roles: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int16]
    parts: tuple[str, ...]
    out_of_fold: NDArray[np.float32]

    def of_role(self, role: Role) -> NDArray[np.int64]:
        """(n,) positions of the rows with that role."""
        return np.flatnonzero(self.roles == ROLES.index(role))


def pack_predictions(predictions: Predictions) -> bytes:
    """The content of ``predictions.h5``: the same predictions give the same bytes."""
    ids, offsets = hdf5.pack_strings([name.encode() for name in predictions.ids])
    parts = np.frombuffer(json.dumps(predictions.parts).encode(), dtype=np.uint8)
    return hdf5.build(
        {"format": "clipfuse-predictions", "version": VERSION},
        {
            "ids": ids,
            "id_offsets": offsets,
            "roles": predictions.roles,
            "targets": predictions.targets.astype(np.uint8),
            "probabilities": predictions.probabilities,
            "folds": predictions.folds,
            "parts": parts,
            "out_of_fold": predictions.out_of_fold,
        },
    ).data


def unpack_predictions(data: bytes, name: str, labels: int) -> Predictions:
    """The opposite of :func:`pack_predictions`. Raises RunError, naming ``name``, where the content is another."""
    try:
        with hdf5.Reader(data, name) as reader:
            roles = reader.dataset("roles", "uint8", (None,))
            rows = len(roles)
            ids = hdf5.unpack_strings(
                reader.dataset("ids", "uint8", (None,)), reader.dataset("id_offsets", "uint64", (rows + 1,))
            )
            parts = tuple(json.loads(reader.dataset("parts", "uint8", (None,)).tobytes()))
            return Predictions(
                tuple(ids),
                roles,
                reader.dataset("targets", "uint8", (rows, labels)).astype(np.bool_),
                reader.dataset("probabilities", "float32", (rows, labels)),
                reader.dataset("folds", "int16", (rows,)),
                parts,
                reader.dataset("out_of_fold", "float32", (rows, len(parts), labels)),
            )
    except (ValueError, CacheCorrupt) as error:
        raise RunError(f"{name} can't be read ({error})", "Train the run again") from error
