"""A run directory: what was trained, on what, with which result.

::

    runs/20260131-120000-sum/
        config.toml          every setting
        environment.json     machine and library versions
        history.jsonl        one object an epoch
        model/               model.json; model.safetensors; NAME.skops for each estimator of scikit-learn's;
                             calibration.json (a cross-validation without refit has no model)
        thresholds.json      one threshold a label
        predictions.h5       probabilities of every row of the split, with its role
        seen.json            ids of rows outside the split that the model was trained on, where there are such
        README.md            the model card
        metrics.json         scores, and the SHA-256 of every file that is read again; written last: its presence
                             means that the run is complete
        timing.json          what clipfuse bench --rerun measured later, where it did (see measured.py)
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import TypeAdapter

from clipfuse.bundles import ARCHIVE, MANIFEST, open_bundle, unpack_bundle
from clipfuse.data.dataset import TableLayout
from clipfuse.data.split import ROLES
from clipfuse.errors import RunError
from clipfuse.predictions import Predictions, pack_predictions, unpack_predictions
from clipfuse.run_content import ModelAbout, Outcome
from clipfuse.table_streams import TableStreams
from clipfuse.train_config import TrainConfig
from clipfuse.trivial import TrivialRow
from clipfuse_cache import TableDescription
from clipfuse_cache.atomic import write_bytes

if TYPE_CHECKING:
    from clipfuse.predictor import Predictor

VERSION = 1
SEEN = "seen.json"


@dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        path: its directory.
        config: every setting of the training.
        streams: stream name -> the feature table that it was read from.
        labels: label names, in the order of the model's outputs.
        layout: how the training table was written.
        metrics: the content of metrics.json.
        views: stream -> the tables of other views of its inputs that training drew from.
        own: what the model reads of a table itself.
        encoders: stream -> encoder name, of those that a bundle brings along.
        unpacked: keeps the folder that an archive was unpacked into, as long as the run is in use.
    """

    path: Path
    config: TrainConfig
    streams: Mapping[str, TableDescription]
    labels: tuple[str, ...]
    layout: TableLayout
    metrics: Mapping[str, Any]
    views: Mapping[str, tuple[TableDescription, ...]] = field(default_factory=dict)
    own: TableStreams = field(default_factory=TableStreams)
    encoders: Mapping[str, str] = field(default_factory=dict)
    unpacked: object = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def dims(self) -> dict[str, int]:
        """Stream -> width, in the order in which the model joins them."""
        return stream_dims(self.streams, self.own)

    @property
    def keeps_model(self) -> bool:
        """Whether there is anything to predict with: a cross-validation without refit has no model."""
        return _keep_a_model(self.metrics["files"])

    @property
    def environment(self) -> Mapping[str, Any]:
        """The machine that it was trained on, see :func:`clipfuse.machine.describe_machine`. Raises RunError."""
        found: Mapping[str, Any] = json.loads(_read(self.path, "environment.json", self.metrics))
        return found

    def predictor(self) -> Predictor:
        """The trained model. Raises RunError where there is none, a file was changed or can't be loaded."""
        from clipfuse.predictor import load_predictor  # torch: bench reads runs without it

        if not self.keeps_model:
            raise RunError(
                f"{self.name} is a cross-validation: it scores a way to train, and keeps no model",
                "Train one with the same options and without --cross-validate, or with --refit all beside it",
            )
        names = [name for name in self.metrics["files"] if name.startswith("model/")]
        files = {name.removeprefix("model/"): _read(self.path, name, self.metrics) for name in names}
        return load_predictor(files, self.config, self.dims, self.labels)

    def read(self, name: str) -> bytes:
        """One of the files that metrics.json lists. Raises RunError where it was changed."""
        return _read(self.path, name, self.metrics)

    def thresholds(self) -> NDArray[np.float64]:
        """(labels,) float64."""
        found = json.loads(_read(self.path, "thresholds.json", self.metrics))
        return np.array([found[name] for name in self.labels])

    def seen(self) -> frozenset[str]:
        """Ids of the rows that trained or tuned the kept model: scores on them are not honest ones."""
        found = self.predictions()
        untouched = (found.roles == ROLES.index("test")) & (self.config.refit == "none")
        elsewhere = json.loads(_read(self.path, SEEN, self.metrics)) if SEEN in self.metrics["files"] else []
        return frozenset(name for name, free in zip(found.ids, untouched, strict=True) if not free).union(elsewhere)

    @property
    def keeps_predictions(self) -> bool:
        """Whether it holds what it said about the rows of its split: a bundle does not."""
        return "predictions.h5" in self.metrics["files"]

    def predictions(self) -> Predictions:
        """What the run said about the rows of its split. Raises RunError where it holds none."""
        if not self.keeps_predictions:
            raise RunError(f"{self.name} is a bundle, which has no predictions of rows", "Name the run it was made of")
        data = _read(self.path, "predictions.h5", self.metrics)
        return unpack_predictions(data, str(self.path / "predictions.h5"), len(self.labels))

    def trivial_rows(self) -> list[TrivialRow]:
        """The trivial predictions fitted on this run's training rows."""
        return [TypeAdapter(TrivialRow).validate_python(row["row"]) for row in self.metrics["trivial"]]

    @property
    def model_bytes(self) -> int:
        """Bytes of the files of head and fusion as stored."""
        return sum(path.stat().st_size for path in (self.path / "model").iterdir())

    @property
    def encoder_bytes(self) -> int | None:
        """Bytes of the weights' files of the encoders that the streams come from, each file once; None where features
        were imported, whose encoders are not known."""
        return self._of_weights("weights_bytes")

    @property
    def encoder_parameters(self) -> int | None:
        """How many numbers these files hold; None where that is not known."""
        return self._of_weights("parameters")

    def _of_weights(self, what: str) -> int | None:
        each = {s.encoder["weights"]: int(s.provenance.get(what) or 0) for s in self.streams.values()}
        return sum(each.values()) if all(each.values()) else None


@contextmanager
def new_run(runs: Path, kind: str) -> Iterator[Path]:
    """A new folder for a run (see :func:`create_folder`), which does not stay where its run does not come about."""
    folder = create_folder(runs, kind, datetime.now())
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def stream_dims(streams: Mapping[str, TableDescription], own: TableStreams) -> dict[str, int]:
    """Stream -> width, in the order in which a model joins them; those of the table itself come last."""
    return {name: stream.dim for name, stream in streams.items()} | own.dims


def create_folder(runs: Path, kind: str, now: datetime) -> Path:
    """A new, empty directory under ``runs``, named by time and fusion; names never collide.

    Raises:
        RunError: it can't be made.
    """
    base = f"{now:%Y%m%d-%H%M%S}-{kind}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for n in range(1, 10_000):
            path = runs / (base if n == 1 else f"{base}-{n}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            (path / "model").mkdir()
            return path
    except OSError as error:
        raise RunError(f"can't make a run directory in {runs}: {error.strerror or error}") from error
    raise RunError(f"{runs} is full of runs named {base}")


def write_run(
    path: Path, config: TrainConfig, about: ModelAbout, found: Outcome, *, environment: Mapping[str, Any]
) -> Run:
    """Fill a run's directory, ``metrics.json`` last. ``environment``: see :func:`clipfuse.machine.describe_machine`.

    Raises:
        DiskFull, CacheError: a file could not be written; the run then counts as incomplete.
    """
    from clipfuse import model_card  # which reads runs

    model = {} if found.predictor is None else found.predictor.files()
    thresholds = dict(zip(about.labels, map(float, found.thresholds), strict=True))
    files = {
        "config.toml": tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode(),
        "environment.json": _json(environment),
        **{f"model/{name}": data for name, data in model.items()},
        "model/model.json": _json({"format": "clipfuse-model", "version": VERSION, **about.to_dict()}),
        "thresholds.json": _json(thresholds),
        "predictions.h5": pack_predictions(found.predictions),
        **({SEEN: _json(sorted(found.seen))} if found.seen else {}),
    }
    write_bytes(path / "history.jsonl", "".join(json.dumps(record) + "\n" for record in found.history).encode())
    for name, data in files.items():
        write_bytes(path / name, data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    complete = {"format": "clipfuse-run", "version": VERSION, **found.metrics, "files": digests}
    write_bytes(path / model_card.NAME, model_card.model_card(_run(path, config, about, complete)).encode())
    write_bytes(path / "metrics.json", _json(complete))
    return open_run(path)


def open_run(path: str | PathLike[str]) -> Run:
    """Read a complete run, or a bundle: a folder or a .zip, whose every file is checked (see :mod:`clipfuse.bundles`).

    Raises:
        RunError: neither of these, not complete, or damaged.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ARCHIVE:
        unpacked = unpack_bundle(path)
        return replace(open_run(unpacked.folder), unpacked=unpacked)
    encoders = open_bundle(path) if (path / MANIFEST).is_file() else {}
    if not path.is_dir():
        raise RunError(f"{path} is not a run directory", "List the runs with: clipfuse bench")
    if not (path / "metrics.json").exists():
        raise RunError(
            f"{path} is not complete (it has no metrics.json: interrupted, or still at work)",
            "Train it again and delete it",
        )
    try:
        metrics = json.loads((path / "metrics.json").read_bytes())
        if (metrics.get("format"), metrics.get("version")) != ("clipfuse-run", VERSION):
            raise RunError(f"{path} was written by another version of clipfuse", "Train it again")
        config = TrainConfig.model_validate(tomllib.loads(_read(path, "config.toml", metrics).decode()))
        about = ModelAbout.from_dict(json.loads(_read(path, "model/model.json", metrics)))
        return replace(_run(path, config, about, metrics), encoders=encoders)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}: {error})", "Train it again") from error


def _run(path: Path, config: TrainConfig, about: ModelAbout, metrics: Mapping[str, Any]) -> Run:
    layout = TypeAdapter(TableLayout).validate_python(about.layout)
    return Run(path, config, about.streams, about.labels, layout, metrics, views=about.views, own=about.own)


def list_runs(runs: Path) -> list[Path]:
    """The runs under ``runs``, complete or not, oldest first (names begin with the time)."""
    return sorted(path.parent for path in runs.glob("*/model"))


def newest_run(runs: Path, *, with_model: bool = False) -> Path:
    """The newest complete run, or the newest that keeps a model: a cross-validation keeps none. Raises RunError where
    there is none."""
    found = [path for path in list_runs(runs) if (path / "metrics.json").exists()]
    if with_model:  # where there is none, the newest one says why
        found = [
            path for path in found if _keep_a_model(f"model/{one.name}" for one in (path / "model").iterdir())
        ] or found
    if not found:
        raise RunError(f"there is no complete run in {runs}", "Train one with: clipfuse train-head --fusion sum")
    return max(found, key=lambda path: ((path / "metrics.json").stat().st_mtime_ns, path.name))


def _keep_a_model(files: Iterable[str]) -> bool:
    """Whether there is more of a model among a run's files than what it is about."""
    return any(name.startswith("model/") and name != "model/model.json" for name in files)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _read(run: Path, name: str, metrics: Mapping[str, Any]) -> bytes:
    """One of a run's files, as it was written."""
    try:
        data = (run / name).read_bytes()
    except OSError as error:
        raise RunError(f"can't read {run / name}: {error.strerror or error}", "Train the run again") from error
    if hashlib.sha256(data).hexdigest() != metrics["files"].get(name):
        raise RunError(f"{run / name} is not what was written (its SHA-256 differs)", "Train the run again")
    return data
