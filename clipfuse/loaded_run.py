"""A run in memory with its encoders: pictures and captions in, probabilities and labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.choose import choose
from clipfuse.data.dataset import Part
from clipfuse.data.pictures import MAX_PIXELS
from clipfuse.errors import TableError
from clipfuse.given_rows import GivenRows, Numbers, Picture
from clipfuse.inputs import cpu_count
from clipfuse.live import LiveInputs, LoadedEncoders, RowInput
from clipfuse.machine import choose_device
from clipfuse.predictor import Predictor
from clipfuse.run import Run, open_run
from clipfuse.streams import modality_of

BLOCK = 256
"""Rows whose pictures and features are in memory at once."""


@dataclass(frozen=True)
class LoadedPrediction:
    """What a run says about some rows.

    Attributes:
        labels: names, the columns of the two arrays.
        probabilities: (rows, labels) float64.
        chosen: (rows, labels) bool, by the run's thresholds and its rule for empty rows.
        problems: one a row: "image", "text" or "numbers" -> why what was given can't be used; the row is predicted from
            what is left.
        without_input: (rows,) bool, rows with nothing that the run reads: their prediction is a constant.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    problems: tuple[Mapping[Part, str], ...]
    without_input: NDArray[np.bool_]

    @property
    def chosen_labels(self) -> list[list[str]]:
        """Each row's labels by name."""
        return [[name for name, yes in zip(self.labels, row, strict=True) if yes] for row in self.chosen]


class LoadedRun:
    """A run that is ready to predict. Make it with :func:`load_run`. One thread at a time may use it.

    Attributes:
        run: the run as it is on disk.
        thresholds: (labels,) float64.
        device: what its encoders compute on; the model itself computes on the processor.
    """

    def __init__(
        self, run: Run, predictor: Predictor, inputs: LiveInputs, thresholds: NDArray[np.float64], device: str
    ) -> None:
        self.run = run
        self.thresholds = thresholds
        self.device = device
        self._predictor = predictor
        self._inputs = inputs

    @property
    def labels(self) -> tuple[str, ...]:
        """Names, in the order of the probabilities."""
        return self.run.labels

    @property
    def reads(self) -> tuple[str, ...]:
        """What it looks at, of "image", "text" and "numbers"; whatever else is given makes no difference."""
        return tuple(dict.fromkeys(map(modality_of, self.run.dims)))

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns of numbers that it reads."""
        return self.run.own.numbers

    def predict(
        self,
        *,
        images: Sequence[Picture] | None = None,
        captions: Sequence[str | None] | None = None,
        numbers: Numbers | None = None,
    ) -> LoadedPrediction:
        """Predict rows. Any of them may lack any input; one that can't be used is told of, and left out.

        Args:
            images: a picture a row: its path, its file's content, or what PIL opened.
            captions: a caption a row; a blank one counts as none.
            numbers: column -> a number a row; all of :attr:`number_columns` are needed, others are not looked at.

        Raises:
            TypeError: one string or one picture where a list is expected, or a row of another type.
            ValueError: nothing is given, or inputs of different numbers of rows.
            TableError: a column of numbers that the run reads is not given.
        """
        rows = GivenRows.of(images, captions, numbers)
        lacking = self.run.own.lacking(rows)
        if lacking:
            raise TableError(
                f"{self.run.name} reads numbers {', '.join(map(repr, lacking))}, which are not given",
                "Give one for each row; it may be None",
            )
        probabilities = np.zeros((len(rows), len(self.labels)))
        without_input = np.zeros(len(rows), dtype=np.bool_)
        problems: list[Mapping[Part, str]] = []
        for start in range(0, len(rows), BLOCK):
            block = range(start, min(start + BLOCK, len(rows)))
            found = self._inputs.read([RowInput(rows.pictures[row], rows.captions[row]) for row in block])
            streams = found.streams.beside(self.run.own.read(rows, "cpu", block))
            part = slice(block.start, block.stop)
            probabilities[part] = self._predictor.probabilities(streams)
            without_input[part] = ~torch.stack(list(streams.present.values())).any(0).numpy()
            problems += [self._of_what_it_reads(found.problems[row - start], rows.problems[row]) for row in block]
        chosen = choose(probabilities, self.thresholds, empty_rows=self.run.config.empty_rows)
        return LoadedPrediction(self.labels, probabilities, chosen, tuple(problems), without_input)

    def _of_what_it_reads(self, *problems: Mapping[Part, str]) -> Mapping[Part, str]:
        return {part: why for one in problems for part, why in one.items() if part in self.reads}


def load_run(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    encoders: Mapping[str, str] | None = None,
    word_list: Path | None = None,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> LoadedRun:
    """Open a run and load its model and its encoders.

    Args:
        path: the run's directory.
        device: what encoders compute on: "cpu", "cuda", or "auto" for a GPU where there is one.
        encoders: stream ("image", "image-2", ...) -> encoder name, where an encoder's files are no longer where they
            were at training.
        word_list: the synonyms that a view was made with, where those are not the ones that ship.
        threads: that read and decode pictures; one for each processor if left out.
        max_pixels: of a picture; one that has more can't be used.

    Raises:
        RunError: not a complete run, or one that keeps no model.
        ConfigError: no such device, or a view that can't be made as it was.
        DataError: the run was trained on features that were imported.
        FingerprintMismatch, WeightsMissing, EncoderError: an encoder is not there, or not the same.
    """
    run = open_run(Path(path))
    predictor = run.predictor()  # before the encoders: it is quick to say that there is none
    device = choose_device(device)
    inputs = LiveInputs.open(
        run,
        LoadedEncoders(device),
        threads=threads or cpu_count(),
        word_list=word_list,
        names=encoders,
        max_pixels=max_pixels,
    )
    return LoadedRun(run, predictor, inputs, run.thresholds(), device)
