"""Where a graph takes a stream's features from: they are given, or an encoder in the graph makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Portable
from clipfuse.encoders.caption import CaptionEncoder
from clipfuse.encoders.picture import PictureEncoder
from clipfuse.encoders.tokenizer_files import TOKENIZER_FILES
from clipfuse.errors import ExportError
from clipfuse.run import Run
from clipfuse.run_features import run_encoders, run_views, views_read
from clipfuse.streams import Streams
from clipfuse_cache import TableDescription

CAPTIONS = (
    "a dog",
    "Two people ride bicycles along a river in the evening sun, and a third one waits for them.",
    "traffic lights!",
)
SIDE = 64
"""Of the pictures that a graph is traced and checked with, before their preprocessing."""


@dataclass(frozen=True)
class GraphInput:
    """One input of a graph.

    Attributes:
        name: of the input.
        example: (rows, ...) of the type that it takes.
        holds: what it is, for people.
        free: axis -> name of each dimension of any size.
        about: what else must be known to make it, as JSON values.
        most: name of a free dimension -> its largest size, where there is one.
    """

    name: str
    example: torch.Tensor
    holds: str
    free: Mapping[int, str] = field(default_factory=lambda: {0: "batch"})
    about: Mapping[str, Any] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """JSON values."""
        shape = [self.free.get(axis, size) for axis, size in enumerate(self.example.shape)]
        dtype = str(self.example.dtype).removeprefix("torch.")
        return {"shape": shape, "dtype": dtype, "holds": self.holds, **self.about}


class Source(Protocol):
    """What gives a stream, or a view of it."""

    @property
    def inputs(self) -> tuple[GraphInput, ...]:
        """What it reads."""
        ...

    def features(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor for each input -> (batch, tokens, dim) float32."""
        ...


@dataclass(frozen=True)
class GivenFeatures:
    """Features that are given."""

    input: GraphInput

    @property
    def inputs(self) -> tuple[GraphInput, ...]:
        """The features."""
        return (self.input,)

    def features(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """As they are."""
        return tensors[0]


@dataclass(frozen=True)
class EncodedFeatures:
    """What an encoder makes of pixels or ids, rounded as the cache stores it.

    Attributes:
        encoder: of float32.
        spec: as the run was trained with, which may be of another precision.
        table: whose rows these would be.
        inputs: pixels, or ids and which of them are a caption's own.
        tokenizer: name -> file, of what makes ids.
    """

    encoder: PictureEncoder | CaptionEncoder
    spec: EncoderSpec
    table: TableDescription
    inputs: tuple[GraphInput, ...]
    tokenizer: Mapping[str, Path | bytes]

    def features(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Through the encoder."""
        names = ("pixels",) if isinstance(self.encoder, PictureEncoder) else ("ids", "own")
        found = self.encoder.compute(dict(zip(names, tensors, strict=True)))[self.table.output].float()
        rows = found if found.ndim == 3 else found.unsqueeze(1)
        return rows.half().float() if self.table.dtype == "float16" else rows


def given_sources(run: Run, examples: Streams) -> dict[str, tuple[Source, ...]]:
    """Every stream and its views as inputs; ``examples``: rows of them."""
    found: dict[str, tuple[Source, ...]] = {}
    for name, value in examples.values.items():
        first = GivenFeatures(GraphInput(name, value.float(), _what(run, name)))
        tables = views_read(run).get(name, ())
        views = [
            GivenFeatures(GraphInput(_view_name(name, number), view.float(), table.name))
            for number, (table, view) in enumerate(zip(tables, examples.views.get(name, ()), strict=True), start=1)
        ]
        found[name] = (first, *views)
    return found


def encoder_sources(
    run: Run, examples: Streams, names: Mapping[str, str], word_list: Path | None
) -> dict[str, tuple[Source, ...]]:
    """Every stream from its encoder, and numbers as inputs.

    Args:
        run: whose encoders are wanted.
        examples: rows of its streams, in order.
        names: stream -> encoder name, where its files are no longer where they were.
        word_list: the synonyms that a view was made with, where those are not the ones that ship.

    Raises:
        ExportError: an encoder of a kind that can't be traced.
        DataError, FingerprintMismatch, WeightsMissing, EncoderError, ConfigError: as ``predict``.
    """
    tables = {name: (plain, *views_read(run).get(name, ())) for name, plain in run.streams.items()}
    views = (None, *run_views(run, word_list))
    made: dict[str, EncodedFeatures] = {}
    for storage, factories in run_encoders(run, names).items():
        for factory in factories:
            in_full = [replace(spec, precision="float32") for spec in factory.specs]
            for spec, encoder in zip(factory.specs, factory.load("cpu", in_full), strict=True):
                for view in views:
                    own = spec if view is None else replace(spec, view=view.name, view_settings=view.settings())
                    prints = {own.fingerprint(output, storage) for output in own.outputs}
                    for stream, those in tables.items():
                        for number, table in enumerate(those):
                            if table.fingerprint in prints:
                                name = stream if number == 0 else _view_name(stream, number)
                                made[table.fingerprint] = encoded(encoder, own, table, name, _tokenizer(factory, own))
    given = given_sources(run, examples)
    return {
        name: tuple(made[table.fingerprint] for table in tables[name]) if name in tables else given[name]
        for name in examples.values
    }


def _tokenizer(factory: EncoderFactory, spec: EncoderSpec) -> dict[str, Path | bytes]:
    if spec.modality != "text" or not isinstance(factory, Portable):
        return {}
    return {name: file for name, file in factory.portable().files.items() if name in TOKENIZER_FILES}


def encoded(
    encoder: Encoder, spec: EncoderSpec, table: TableDescription, name: str, tokenizer: Mapping[str, Path | bytes]
) -> EncodedFeatures:
    """A stream, or a view of it, called ``name``: what ``encoder`` makes of pixels or ids.

    Args:
        encoder: computing in float32.
        spec: as the run was trained with.
        table: one of its outputs.
        name: of the stream.
        tokenizer: name -> file.

    Raises:
        ExportError: an encoder of a kind that can't be traced.
    """
    about: dict[str, Any] = {"encoder": spec.name, "backend": spec.backend, "preprocessing": dict(spec.preprocessing)}
    if spec.view_settings:
        about["view"] = spec.view_settings
    if isinstance(encoder, PictureEncoder):
        batch = encoder.collate([encoder.prepare(picture) for picture in _pictures()])
        pixels = batch["pixels"].contiguous()
        what = "RGB pictures after preprocessing: channels, height, width"
        return EncodedFeatures(encoder, spec, table, (GraphInput(f"{name}_pixels", pixels, what, about=about),), {})
    if isinstance(encoder, CaptionEncoder):
        batch = encoder.collate([encoder.prepare(caption) for caption in CAPTIONS])
        free: dict[int, str] = {0: "batch"}
        most: dict[str, int] = {}
        if "max_length" in spec.preprocessing:  # others are as long as their context
            length = f"{name}_length"
            free, most = {0: "batch", 1: length}, {length: int(spec.preprocessing["max_length"])}
        about["padding"] = encoder.padding
        inputs = (
            GraphInput(f"{name}_ids", batch["ids"], "ids of a caption's tokens, padded", free, about, most),
            GraphInput(f"{name}_own", batch["own"], "1 for a caption's own tokens, 0 for padding", free, {}, most),
        )
        return EncodedFeatures(encoder, spec, table, inputs, tokenizer)
    raise ExportError(f"encoder {spec.name} can't be traced", "Leave out --with-encoder")


def _pictures() -> list[Image.Image]:
    """One for each caption, of noise."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (len(CAPTIONS), SIDE, SIDE, 3), generator=generator).byte()
    return [Image.fromarray(one.numpy()) for one in drawn]


def _what(run: Run, stream: str) -> str:
    if stream in run.streams:
        return f"features of {run.streams[stream].name}"
    return f"the columns {', '.join(run.own.numbers)}, NaN for an empty cell"


def _view_name(stream: str, number: int) -> str:
    return f"{stream}_view{number}"
