"""Stacked fusions: parts that each give logits, and a combiner on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from clipfuse.errors import ConfigError
from clipfuse.registry import Registry
from clipfuse.settings import Choice, Settings, build_settings
from clipfuse.stream_model import StreamModel
from clipfuse.train_config import FusionConfig

Values = Mapping[str, torch.Tensor]


class StackedFusion(StreamModel):
    """logits = combiner(the parts' logits).

    Guo, "Multimodal Multilabel Classification by CLIP": "sum" has an image and a text part, "mixed" a third one on
    both. How parts and combiner are trained is decided outside (see ``clipfuse.training.stacking``).

    Args:
        parts: name -> model.
        combiner: (batch, parts, labels) logits, (batch, parts) bool -> (batch, labels) logits.
    """

    def __init__(self, parts: Mapping[str, StreamModel], combiner: nn.Module) -> None:
        super().__init__()
        self.models = nn.ModuleDict(parts)
        self.combiner = combiner

    @property
    def parts(self) -> dict[str, StreamModel]:
        """Name -> part, in order."""
        return {name: part for name, part in self.models.items() if isinstance(part, StreamModel)}

    @property
    def streams(self) -> tuple[str, ...]:
        """What the parts read."""
        return tuple(dict.fromkeys(name for part in self.parts.values() for name in part.streams))

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        part_logits = torch.stack([part(values, present) for part in self.parts.values()], dim=1)
        logits: torch.Tensor = self.combiner(part_logits, self.part_present(present))
        return logits

    def part_present(self, present: Values) -> torch.Tensor:
        """(batch, parts) bool: whether a row has any of what a part reads."""
        return torch.stack([part_present(part, present) for part in self.parts.values()], dim=1)


def part_present(part: StreamModel, present: Values) -> torch.Tensor:
    """(batch,) bool: whether a row has any of what ``part`` reads."""
    return torch.stack([present[name] for name in part.streams]).any(0)


class StackedSettings(Settings):
    """What can be set of a stacked fusion; None takes the kind's own."""

    parts: tuple[str, ...] | None = None
    combiner: Choice | None = None


@dataclass(frozen=True)
class StackedKind:
    """A named stacked fusion: parts besides one for each modality, and the combiner."""

    more_parts: tuple[str, ...]
    combiner: Choice


STACKED: Registry[StackedKind] = Registry("fusion")
STACKED.register("sum")(StackedKind((), Choice(kind="residual")))
STACKED.register("mixed")(StackedKind(("concat",), Choice(kind="residual")))
STACKED.register("average")(StackedKind((), Choice(kind="average")))
STACKED.register("max")(StackedKind((), Choice(kind="max")))


def stacked_settings(config: FusionConfig) -> StackedSettings:
    """What is set of the stacked fusion that is chosen. Raises UnknownName, ConfigError."""
    STACKED.get(config.kind)
    return build_settings(StackedSettings, config.options, f"fusion {config.kind}")


def part_names(config: FusionConfig, modalities: Sequence[str]) -> tuple[str, ...]:
    """The parts of the stacked fusion that is chosen, on data of these modalities.

    Raises:
        ConfigError: a part twice, or a part that is itself stacked.
    """
    chosen = stacked_settings(config).parts
    names = (*modalities, *STACKED.get(config.kind).more_parts) if chosen is None else chosen
    wrong = [name for name in names if name in STACKED or names.count(name) > 1]
    if wrong or not names:
        problem = f"fusion {config.kind} can't have {wrong[0] if wrong else 'no'} part{'' if wrong else 's'}"
        raise ConfigError(problem, "Parts are different fusions that are not stacked: image, text, concat, ...")
    return names


def combiner_of(config: FusionConfig) -> Choice:
    """The combiner of the stacked fusion that is chosen."""
    return stacked_settings(config).combiner or STACKED.get(config.kind).combiner
