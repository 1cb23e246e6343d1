"""Every scikit-learn baseline at growing numbers of rows, on drawn features: how fitting and asking grow.

768 + 768 columns side by side, 18 labels; 2,000 more rows give the F1 that is shown. A baseline whose next size would
take longer than --most seconds (from how its last two grew) is left out there, and the table says so.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from common import parser, report
from drawn_features import draw_features

from clipfuse.baselines import BASELINES, fit_estimator
from clipfuse.settings import Choice

TEST_ROWS = 2000


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 25_000])
    options.add_argument("--only", action="append", default=[], help="a baseline; all if left out")
    options.add_argument("--most", type=float, default=300.0, help="seconds that one fit may be expected to take")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.sizes, chosen.only = [60, 120], chosen.only or ["knn", "ridge", "multinomial-nb"]
    drawn = draw_features(max(chosen.sizes) + TEST_ROWS, dim=16 if chosen.quick else 768)
    features = np.concatenate([drawn.image[:, 0].float().numpy(), drawn.text[:, 0].float().numpy()], axis=1)
    features = (features - features.mean(0)) / features.std(0)
    targets = drawn.targets.numpy() > 0.5
    rows = []
    for name in chosen.only or BASELINES:
        took: list[tuple[int, float]] = []
        for size in sorted(chosen.sizes):
            expected = expected_seconds(took, size)
            if expected > chosen.most:
                print(f"{name} on {size:,} rows: left out, about {expected:,.0f} s", flush=True)
                continue
            rows.append(measure(name, size, features, targets))
            took.append((size, rows[-1]["fit s"]))
            print(rows[-1], flush=True)
    report("baselines", chosen, rows, {"dim": features.shape[1], "labels": targets.shape[1]})


def expected_seconds(took: list[tuple[int, float]], size: int) -> float:
    """Of a power law through the last two."""
    if not took:
        return 0.0
    if len(took) == 1:
        return took[0][1] * (size / took[0][0])
    (before, fast), (last, slow) = took[-2:]
    power = math.log(max(slow, 1e-3) / max(fast, 1e-3)) / math.log(last / before)
    return float(slow * (size / last) ** power)


def measure(name: str, size: int, features: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    started = time.perf_counter()
    found = fit_estimator(Choice(kind=name), features[:size], targets[:size])
    fitted = time.perf_counter()
    said = found.scores(features[-TEST_ROWS:])
    asked = time.perf_counter() - fitted
    chosen, true = said > 0.5, targets[-TEST_ROWS:]
    return {
        "baseline": name,
        "rows": size,
        "fit s": fitted - started,
        "asked rows/s": TEST_ROWS / asked,
        "micro-F1": 2 * int((chosen & true).sum()) / max(1, int(chosen.sum()) + int(true.sum())),
        "numbers": found.numbers,
        "MB": len(found.to_bytes()) / 1e6,
    }


if __name__ == "__main__":
    main()
