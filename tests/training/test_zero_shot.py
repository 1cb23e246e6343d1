"""A zero-shot head that no training row can start."""

import pytest
import torch

from clipfuse.errors import TrainingError
from clipfuse.models import build_model
from clipfuse.streams import Streams
from clipfuse.train_config import FusionConfig, HeadConfig, TrainConfig
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.zero_shot import start_zero_shot


def test_no_training_row_has_the_picture():
    config = TrainConfig(fusion=FusionConfig(kind="image"), head=HeadConfig(kind="zero-shot"))
    present = torch.tensor([True, False, False])
    streams = Streams({"image": torch.randn(3, 1, 4)}, {"image": present})
    rows = RowsInMemory(streams, torch.ones(3, 2), {"image": torch.randn(2, 4)})
    model = build_model(config, {"image": 4}, 2, seed=0)
    with pytest.raises(TrainingError, match="no training row with stream image"):
        start_zero_shot(model, rows, torch.tensor([1, 2]))
    start_zero_shot(model, rows, torch.tensor([0, 1]))
