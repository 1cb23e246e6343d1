"""Estimators as bytes, without pickle: skops' format, the same bytes for the same estimator."""

from __future__ import annotations

import io
import json
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from clipfuse.errors import TrainingError

TRUSTED_TYPES = (
    "clipfuse.baselines.captions.CaptionReader",
    "clipfuse.baselines.label_powerset.LabelPowerset",
    "scipy.sparse._csr.csr_matrix",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""What a saved estimator may consist of besides what skops trusts: numpy arrays, plain values, scikit-learn's own."""

_SCHEMA = "schema.json"


def dump(content: Any) -> bytes:
    """What :func:`load` reads. skops numbers objects by where they lie in memory, and notes the time: here they are
    numbered in their order, and there is no time.

    Raises:
        TrainingError: it has types that are not allowed, so that nothing could read it again.
    """
    import skops.io

    data = skops.io.dumps(content)
    refused = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES))
    if refused:
        raise TrainingError(
            f"the estimator can't be kept: it has parts that a saved one may not have ({', '.join(refused)})",
            "Leave its settings (--set head.…) nearer to the defaults",
        )
    dumped = ZipFile(io.BytesIO(data))
    numbers: dict[str, int] = {}
    schema = _renumbered(json.loads(dumped.read(_SCHEMA)), numbers)
    files = {_renamed(name, numbers): dumped.read(name) for name in dumped.namelist() if name != _SCHEMA}
    written = io.BytesIO()
    with ZipFile(written, "w", ZIP_DEFLATED) as packed:
        for name, data in [*sorted(files.items()), (_SCHEMA, json.dumps(schema, indent=1).encode())]:
            packed.writestr(ZipInfo(name), data, ZIP_DEFLATED)
    return written.getvalue()


def load(content: bytes) -> Any:
    """The opposite of :func:`dump`. Raises what skops does where it is damaged or has types that are not allowed."""
    import skops.io

    return skops.io.loads(content, trusted=list(TRUSTED_TYPES))


def _renumbered(value: Any, numbers: dict[str, int]) -> Any:
    if isinstance(value, list):
        return [_renumbered(one, numbers) for one in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "__id__":
            found[key] = numbers.setdefault(str(inner), len(numbers))
        elif key == "file" and isinstance(inner, str):
            found[key] = _renamed(inner, numbers)
        else:
            found[key] = _renumbered(inner, numbers)
    return found


def _renamed(name: str, numbers: dict[str, int]) -> str:
    stem, dot, ending = name.partition(".")
    return f"{numbers.setdefault(stem, len(numbers)):06d}{dot}{ending}"
