"""Features in memory: one tensor a stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch


def modality_of(stream: str) -> str:
    """Of a stream's name: "image" for "image" and for "image-2"."""
    return stream.split("-", 1)[0]


@dataclass(frozen=True)
class Streams:
    """Rows of one or more streams, which are called by their modality: "image", "image-2" (a second encoder), "text".

    Attributes:
        values: stream -> (rows, tokens, dim) float tensor.
        present: stream -> (rows,) bool; False where the row has no such input or it could not be read.
        views: stream -> the same rows of other views of the input, for training to draw from.
    """

    values: Mapping[str, torch.Tensor]
    present: Mapping[str, torch.Tensor]
    views: Mapping[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def rows(self, index: torch.Tensor | slice) -> Streams:
        """Some of the rows. An index of more dimensions gives as many in front: (models, rows, tokens, dim)."""
        return Streams(
            {name: value[index] for name, value in self.values.items()},
            {name: value[index] for name, value in self.present.items()},
            {name: tuple(view[index] for view in views) for name, views in self.views.items()},
        )

    def beside(self, others: Streams) -> Streams:
        """These and ``others`` of the same rows, which come last."""
        return Streams(
            {**self.values, **others.values}, {**self.present, **others.present}, {**self.views, **others.views}
        )

    def drawn(self, index: torch.Tensor, generator: torch.Generator) -> Streams:
        """Rows with any of their views, each row's drawn anew; the same draw for all streams of a modality."""
        draws: dict[str, torch.Tensor] = {}
        values = {}
        for name, value in self.values.items():
            found = value[index]
            others = self.views.get(name, ())
            if others:
                draw = draws.get(modality_of(name))
                if draw is None:
                    draw = torch.randint(len(others) + 1, index.shape, generator=generator).to(index.device)
                    draws[modality_of(name)] = draw
                for number, view in enumerate(others, start=1):
                    taken = draw == number
                    found[taken] = view[index[taken]]
            values[name] = found
        return Streams(values, {name: value[index] for name, value in self.present.items()})

    def only(self, names: Sequence[str]) -> Streams:
        """Some of the streams."""
        views = {name: self.views[name] for name in names if name in self.views}
        return Streams({name: self.values[name] for name in names}, {name: self.present[name] for name in names}, views)

    def without_views(self) -> Streams:
        """The inputs as they are, and nothing else."""
        return Streams(self.values, self.present)

    def masked(self, modalities: Collection[str]) -> Streams:
        """The same, as if the rows had inputs of these modalities only."""
        present = {
            name: there if modality_of(name) in modalities else torch.zeros_like(there)
            for name, there in self.present.items()
        }
        return Streams(self.values, present, self.views)

    @property
    def versions(self) -> int:
        """In how many ways the inputs are here: as they are, and the most views that a stream has."""
        return 1 + max(map(len, self.views.values()), default=0)

    def view(self, number: int) -> Streams:
        """The ``number``-th view in place of the inputs as they are (0); streams that have fewer views stay."""
        return Streams(
            {
                name: ((value, *self.views.get(name, ()))[number : number + 1] or (value,))[0]
                for name, value in self.values.items()
            },
            self.present,
        )

    def to(self, device: str) -> Streams:
        """The same on another device."""
        return Streams(
            {name: value.to(device) for name, value in self.values.items()},
            {name: value.to(device) for name, value in self.present.items()},
            {name: tuple(view.to(device) for view in views) for name, views in self.views.items()},
        )


def concatenate(parts: Sequence[Streams]) -> Streams:
    """Rows of the same streams and views behind each other; at least one part."""
    first = parts[0]
    return Streams(
        {name: torch.cat([part.values[name] for part in parts]) for name in first.values},
        {name: torch.cat([part.present[name] for part in parts]) for name in first.present},
        {
            name: tuple(torch.cat([part.views[name][n] for part in parts]) for n in range(len(views)))
            for name, views in first.views.items()
        },
    )
