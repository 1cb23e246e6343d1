"""The encoder of captions that all backends share: a tokenizer, a network, an output or more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from clipfuse.encoders.forward import Batch, Compute, ForwardPass, pinned
from clipfuse.encoders.spec import EncoderSpec, Prepared

TRUNCATED = "truncated"


class Tokens(NamedTuple):
    """A caption as the network reads it: ids, how many at the start are the caption's own and not padding, and whether
    the caption went on."""

    ids: list[int]
    own: int
    cut: bool


class CaptionEncoder:
    """See :class:`clipfuse.encoders.Encoder`.

    Args:
        spec: what it is; "prefix" in its preprocessing is put before each caption.
        tokenize: a caption to tokens; called from several threads.
        compute: (batch, tokens) ids, (batch, tokens) 1 for a caption's own tokens, to the spec's outputs.
        network: what ``compute`` runs.
        device: "cpu" or "cuda".
        padding: the id that fills up shorter captions.
        compiled: through torch.compile.

    Raises:
        EncoderError: its features have other shapes than ``spec`` says.
        ConfigError: ``device`` can't compute in the spec's precision.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        tokenize: Callable[[str], Tokens],
        compute: Callable[[torch.Tensor, torch.Tensor], Mapping[str, torch.Tensor]],
        network: torch.nn.Module,
        device: str,
        *,
        padding: int,
        compiled: bool,
    ) -> None:
        self.spec = spec
        self._tokenize = tokenize
        self._prefix = str(spec.preprocessing.get("prefix", ""))
        self._padding = padding
        self._device = device
        self._pass = ForwardPass(
            spec, lambda batch: compute(batch["ids"], batch["own"]), network, device, compiled=compiled
        )
        self._pass.check(self.collate([self.prepare("a caption")]))

    def prepare(self, item: str) -> Prepared:
        """One caption; "truncated" in its notes where the network can't read all of it."""
        ids, own, cut = self._tokenize(self._prefix + item)
        return Prepared((ids, own), len(ids), (TRUNCATED,) if cut else ())

    def collate(self, items: Sequence[Prepared]) -> Batch:
        """ids and own: (batch, tokens of the longest) int64."""
        longest = max(item.length for item in items)
        ids = torch.full((len(items), longest), self._padding)
        own = torch.zeros(len(items), longest, dtype=torch.int64)
        for row, item in enumerate(items):
            ids[row, : item.length] = torch.tensor(item.value[0])
            own[row, : item.value[1]] = 1
        return pinned({"ids": ids, "own": own}, self._device)

    @property
    def compute(self) -> Compute:
        """The network alone, in the precision of its weights: a batch to the spec's outputs. For tracing."""
        return self._pass.plain

    @property
    def padding(self) -> int:
        """The id that fills up shorter captions."""
        return self._padding

    def encode(self, batch: Batch) -> Batch:
        """One forward pass."""
        return self._pass(batch)
