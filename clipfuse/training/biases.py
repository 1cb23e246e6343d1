"""Where the logits of fresh heads start."""

from __future__ import annotations

import torch
from torch import nn

from clipfuse.heads import Head


def start_biases(model: nn.Module, targets: torch.Tensor) -> None:
    """Let every head of a model start from how frequent each label is, so that no step is spent on learning that.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.3, with each label's own prior. Half a row of
    either kind is added, so that a label that all rows or none have has log-odds, too.

    Args:
        model: fresh.
        targets: (training rows, labels) in [0, 1].
    """
    log_odds = torch.logit((targets.double().sum(0) + 0.5) / (len(targets) + 1))
    for head in model.modules():
        if isinstance(head, Head) and head.label_bias is not None:
            with torch.no_grad():
                head.label_bias.copy_(log_odds)
