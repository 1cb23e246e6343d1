"""Small rows and models for the loop."""

from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch

from clipfuse.models import build_model
from clipfuse.streams import Streams
from clipfuse.train_config import FitConfig, TrainConfig
from clipfuse.training.fit import Member, fit
from clipfuse.training.rows import Block, RowsInMemory

DIMS = {"image": 8, "text": 6}
LABELS = 3
HEADS = {"mlp": {"hidden": (16,)}, "gmlp": {"blocks": 1}, "linear": {}}


@dataclass(frozen=True)
class BlockedRows:
    """Rows in several blocks, as they come from a disk: only ``blocks`` shows their features."""

    whole: RowsInMemory
    starts: tuple
    groups = None
    label_vectors = MappingProxyType({})

    @property
    def dims(self):
        return self.whole.dims

    @property
    def targets(self):
        return self.whole.targets

    @property
    def present(self):
        return self.whole.present

    @property
    def bounds(self):
        return list(zip(self.starts, (*self.starts[1:], len(self.targets)), strict=True))

    def blocks(self, generator=None):
        order = range(len(self.starts)) if generator is None else torch.randperm(len(self.starts), generator=generator)
        for number in order:
            start, stop = self.bounds[int(number)]
            yield Block(start, stop, self.whole.streams.rows(slice(start, stop)))


class Tools:
    """What the tests of the loop are made with."""

    dims, labels, config = DIMS, LABELS, FitConfig(epochs=5, learning_rate=1e-2, batch_size=32, precision="float32")

    @staticmethod
    def rows(n=280, seed=0, lacking=(), learnable=True):
        """Rows whose labels are the first columns of the image, with noise; about a third lacks what is ``lacking``."""
        generator = torch.Generator().manual_seed(seed)
        values = {name: torch.randn(n, 1, dim, generator=generator) * 3 + 1 for name, dim in DIMS.items()}
        noise = torch.randn(n, LABELS, generator=generator)
        seen = (values["image"][:, 0, :LABELS] + values["text"][:, 0, :LABELS] - 2) / 3
        targets = ((seen if learnable else 0) + 0.7 * noise > 0).float()
        chance = torch.rand(len(DIMS), n, generator=generator)
        present = {name: ~((chance[k] < 0.35) & (name in lacking)) for k, name in enumerate(DIMS)}
        return RowsInMemory(Streams(values, present), targets)

    @staticmethod
    def blocked(rows, *starts):
        return BlockedRows(rows, starts)

    @staticmethod
    def model(head="mlp", fusion="concat", seed=0, dims=DIMS, absent="learned", **settings):
        config = TrainConfig.model_validate(
            {"head": {"kind": head, **HEADS[head], **settings}, "fusion": {"kind": fusion}, "absent": absent}
        )
        return build_model(config, dims, LABELS, seed=seed)

    @classmethod
    def member(cls, model, train=slice(0, 200), validation=slice(200, 280), config=None, seed=0, name="x", total=280):
        places = torch.arange(total)
        chosen = None if validation is None else places[validation]
        return Member(name, model, config or cls.config, seed, places[train], chosen)

    @classmethod
    def fit(cls, model, rows=None, on_epoch=lambda *_: None, **member):
        rows = rows or cls.rows()
        return fit([cls.member(model, total=len(rows.targets), **member)], rows, on_epoch)[0]

    @staticmethod
    def weights(net):
        return {name: value.clone() for name, value in net.state_dict().items()}

    @staticmethod
    def same(one, other):
        return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="session")
def tools():
    """Rows, models, members, one fit."""
    return Tools
