"""What the reports print of their models, to stand beside what is measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """What a report's table says of a model. ``size`` in its own unit, times in seconds, ``f1`` on its own rows."""

    size: float
    seconds: float
    f1: float
    predict: float | None = None


S1 = {  # S1, table 1: size (MB), training time, predict time, validation F1
    "resnet50": Reported(90.15, 746, 0.7894, 48.48),
    "mobilenet-v2": Reported(8.84, 476, 0.7718, 35.80),
    "efficientnet-b0": Reported(15.70, 734, 0.7960, 44.86),
    "efficientnet-b1": Reported(25.40, 911, 0.8042, 51.46),
    "efficientnet-b2": Reported(29.96, 952, 0.8014, 53.33),
    "efficientnet-b3": Reported(41.50, 1184, 0.8146, 61.74),
    "efficientnet-b4": Reported(67.86, 1504, 0.8163, 73.29),
    "bert-base": Reported(417.82, 821, 0.8204, 32),
    "efficientnet-b0 + tinybert-4l-312": Reported(73.57, 1516, 0.8348, 141),
    "efficientnet-b1 + tinybert-4l-312": Reported(83.28, 1631, 0.8419, 147),
    "efficientnet-b2 + tinybert-4l-312": Reported(88.08, 1628, 0.8483, 146),
    "efficientnet-b3 + tinybert-4l-312": Reported(99.86, 1753, 0.8528, 148),
}
S4 = {  # S4, table 1: size (M), time cost (s), validation F1
    "mobilenet-v3-large": Reported(22.1, 44, 0.7897),
    "shufflenet-v2-x2": Reported(28.4, 45, 0.7738),
    "efficientnet-b0": Reported(20.5, 51, 0.7924),
    "efficientnet-b1": Reported(31.5, 53, 0.7989),
    "efficientnet-b2": Reported(35.2, 50, 0.7977),
    "efficientnet-b3": Reported(49.3, 53, 0.8134),
    "efficientnet-b4": Reported(74.5, 57, 0.8342),
    "efficientnet-v2-s": Reported(96.5, 52, 0.8236),
    "bert-tiny": Reported(17.6, 40, 0.8171),
    "albert-base": Reported(44.1, 48, 0.7991),
}
ROWS_OF = {  # what their scores were taken on, and with which encoders
    "S0": "SemEval-2021 task 6; fine-tuned",
    "S1": "contest, validation; fine-tuned EfficientNet-b3, TinyBERT",
    "S2": "contest, last 5,000 rows; frozen CLIP ViT-L/14",
    "S4": "contest, validation; fine-tuned EfficientNet-b4, BERT-tiny",
}
