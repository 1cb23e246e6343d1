"""The sum fusion against S2's own procedure: 25,000 rows × 768 × two streams, 18 labels, on drawn features.

Four trainings on the same rows: S2's procedure (its seconds are those of some epochs, scaled to its 200: every epoch
costs the same), clipfuse's default sum with out-of-fold stacking, S2's layers under clipfuse's loop, and the default
sum trained jointly. 5,000 more rows choose epochs and give the F1 that is shown.
"""

from __future__ import annotations

import time
from typing import Any

from common import parser, report  # before torch: it says how its threads are to wait

# isort: split
import torch
from drawn_features import DrawnFeatures, draw_features, train_drawn
from s2_procedure import EPOCHS, run_s2

from clipfuse.models import count_parameters
from clipfuse.recipes import find_recipe
from clipfuse.train_config import CombinerFitConfig, FitConfig, FusionConfig, StackingConfig, TrainConfig
from clipfuse.training.validation import predict_rows

OURS = {
    "default sum, out-of-fold": TrainConfig(fusion=FusionConfig(kind="sum")),
    "s2-sum's layers, our loop": TrainConfig(
        fusion=find_recipe("s2-sum").train.fusion,
        head=find_recipe("s2-sum").train.head,
        fit=FitConfig(epochs=12),
        stacking=StackingConfig(fit=CombinerFitConfig(epochs=12)),
    ),
    "default sum, joint": TrainConfig(fusion=FusionConfig(kind="sum"), stacking=StackingConfig(method="joint")),
}


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(rows=25_000)
    options.add_argument("--s2-epochs", type=int, default=3, help="of 200; all cost the same")
    options.add_argument("--device", default="cpu")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.s2_epochs = 60, 1
    drawn = draw_features(chosen.rows + chosen.rows // 5, dim=64 if chosen.quick else 768)
    rows = [s2_row(drawn, chosen.rows, chosen.s2_epochs)] if chosen.s2_epochs else []
    for name, config in OURS.items():
        rows.append(our_row(name, config, drawn, chosen.rows, chosen.device, chosen.seed))
        if chosen.s2_epochs:
            rows[-1]["times faster"] = rows[0]["train s"] / rows[-1]["train s"]
    report("race", chosen, rows, {"s2_epochs_run": chosen.s2_epochs})


def s2_row(drawn: DrawnFeatures, train: int, epochs: int) -> dict[str, Any]:
    found = run_s2(drawn.image[:, 0].float(), drawn.text[:, 0].float(), drawn.targets, train, epochs=epochs)
    f1 = micro_f1(found.probabilities, drawn.targets[train:])
    return {
        "training": f"S2's procedure, {epochs} of {EPOCHS} epochs",
        "train s": found.seconds_of_200_epochs,
        "micro-F1": f1 if epochs == EPOCHS else None,
        "parameters": 5_819_958,
        "times faster": 1.0,
    }


def our_row(name: str, config: TrainConfig, drawn: DrawnFeatures, train: int, device: str, seed: int) -> dict[str, Any]:
    import torch._dynamo

    config = config.model_copy(update={"seed": seed})
    started = time.perf_counter()
    model, rows = train_drawn(config, {"image": drawn.image, "text": drawn.text}, drawn.targets, train, device)
    held_out = torch.arange(train, len(drawn.targets), device=device)
    found = torch.sigmoid(predict_rows(model, rows, held_out)).cpu()
    return {
        "training": name,
        "train s": time.perf_counter() - started,
        "micro-F1": micro_f1(found, drawn.targets[train:]),
        "parameters": count_parameters(model),
        "times faster": None,
    }


def micro_f1(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    chosen, true = probabilities > 0.5, targets > 0.5
    return 2 * int((chosen & true).sum()) / max(1, int(chosen.sum()) + int(true.sum()))


if __name__ == "__main__":
    main()
