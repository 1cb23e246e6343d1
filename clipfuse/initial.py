"""Training on from an earlier run: its weights and scalers in a fresh model, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from clipfuse.baselines import BASELINES
from clipfuse.data.split import Split
from clipfuse.errors import ConfigError, FingerprintMismatch, RunError
from clipfuse.heads import Head
from clipfuse.models import build_model, heads_of
from clipfuse.predictor import AveragePredictor, CalibratedPredictor, EnsemblePredictor, TorchPredictor
from clipfuse.run import Run, stream_dims
from clipfuse.table_streams import TableStreams
from clipfuse.train_config import TrainConfig
from clipfuse_cache import TableDescription
from clipfuse_cache.fingerprint import difference

State = dict[str, torch.Tensor]


def initial_states(
    run: Run,
    config: TrainConfig,
    streams: Mapping[str, TableDescription],
    own: TableStreams,
    labels: Sequence[str],
) -> list[State]:
    """What a new training starts from: weights and scalers of the run's model, or of each member of its ensemble.

    Labels go by name: what the earlier run has learned of one goes to where that stands now; a new one starts fresh.

    Args:
        run: the earlier run.
        config: of the new training; it builds the same architecture.
        streams: stream -> what it is read from.
        own: what it reads of the table itself.
        labels: of the new training.

    Raises:
        ConfigError: another architecture, an ensemble of another size, or labels that the head can't exchange.
        FingerprintMismatch: streams of other features.
        RunError: the earlier run holds no weights that can be trained.
    """
    predictor = run.predictor()
    while isinstance(predictor, CalibratedPredictor | AveragePredictor):
        predictor = predictor.inner
    members = predictor.members if isinstance(predictor, EnsemblePredictor) else (predictor,)
    kinds = [head.kind for head in heads_of(run.config).values() if head.kind in BASELINES]
    if kinds or not all(isinstance(member, TorchPredictor) for member in members):
        raise RunError(f"{run.name} is a {run.metrics['kind']}: it has no weights to train on from")
    wanted = config.ensemble.size if config.ensemble.kind in ("seeds", "folds") else 1
    if len(members) not in (1, wanted):
        raise ConfigError(
            f"{run.name} is an ensemble of {len(members)}; this training has {wanted} to start from it",
            f"Give --ensemble seeds:{len(members)}, or start from a single model",
        )
    _check_streams(run, streams)
    if own.numbers != run.own.numbers:
        raise ConfigError(f"{run.name} reads the numbers {run.own.numbers}, this training {own.numbers}")
    _check_kinds(run.config, config, run.name)
    dims = stream_dims(streams, own)
    fresh = build_model(config, dims, len(labels), seed=config.seed)
    axes = None if tuple(labels) == run.labels else _label_axes(config, dims, len(labels))
    if axes is not None and any(isinstance(module, Head) and module.labels_in_order for module in fresh.modules()):
        axes = {}
    states = []
    for member in members:
        assert isinstance(member, TorchPredictor)
        states.append(_moved(member.model.state_dict(), fresh.state_dict(), run, labels, axes))
    return states


def check_unseen(run: Run, split: Split) -> frozenset[str]:
    """Make sure that a run has not seen the rows that a new training is scored on, and give the ids that it has.

    Rows are told apart by their ids.

    Raises:
        ConfigError: validation rows that it was trained on, or test rows that it has seen in any way.
    """
    found, seen = run.predictions(), run.seen()
    trained = seen - ({found.ids[row] for row in found.of_role("validation")} if run.config.refit == "none" else set())
    for role, known in (("test", seen), ("validation", trained)):
        there = [name for name in split.roles[role] if name in known]
        if there:
            how = f"Use the split that it was trained with ({run.metrics['split']['name']}), or another run"
            if run.config.refit == "all":
                how = "It was trained on all of its rows in the end (--refit all): start from a run without that"
            raise ConfigError(
                f"{run.name} was trained or tuned on {len(there):,} of the {len(split.roles[role]):,} {role} rows of"
                f" split {split.name}, the first is {there[0]!r}: scores on them would not be honest",
                how,
            )
    return seen


def _check_streams(run: Run, streams: Mapping[str, TableDescription]) -> None:
    if list(streams) != list(run.streams):
        raise ConfigError(f"{run.name} reads {', '.join(run.streams)}; this training reads {', '.join(streams)}")
    for name, stream in streams.items():
        if stream.fingerprint != run.streams[name].fingerprint:
            fields = difference(run.streams[name].encoder, stream.encoder)
            raise FingerprintMismatch(
                f"stream {name} is not the one that {run.name} was trained on ({fields})",
                f"Choose {run.streams[name].name}",
            )


def _check_kinds(earlier: TrainConfig, config: TrainConfig, name: str) -> None:
    pairs = (
        ("fusion", "--fusion ", earlier.fusion.kind, config.fusion.kind),
        ("head", "--head ", earlier.head.kind, config.head.kind),
        ("absent", "--set absent=", earlier.absent, config.absent),
    )
    for what, option, before, now in pairs:
        if before != now:
            raise ConfigError(f"{name} has {what} {before}, this training {now}", f"Give {option}{before}")


def _label_axes(config: TrainConfig, dims: Mapping[str, int], labels: int) -> dict[str, set[int]]:
    """Weight -> its axes that have one place a label: those that grow with the labels, one by one."""
    with torch.device("meta"):
        now, one_more, twice = (
            {name: value.shape for name, value in build_model(config, dims, count, seed=0).state_dict().items()}
            for count in (labels, labels + 1, 2 * labels)
        )
    axes: dict[str, set[int]] = {}
    for name, shape in now.items():
        grown = [
            (one_more[name][axis] - size, twice[name][axis] - size)
            if len(twice.get(name, ())) == len(shape)
            else (0, 1)
            for axis, size in enumerate(shape)
        ]
        if any(growth not in ((0, 0), (1, labels)) for growth in grown):
            return {}
        axes[name] = {axis for axis, growth in enumerate(grown) if growth != (0, 0)}
    return axes


def _moved(old: State, fresh: State, run: Run, labels: Sequence[str], axes: dict[str, set[int]] | None) -> State:
    """Weights of the earlier run in the shapes of the fresh model; what it has not learned stays fresh."""
    if axes is not None and not any(axes.values()):
        raise ConfigError(
            f"{run.name} has labels {', '.join(run.labels)}; a head like this can't take others, or in another order",
            "Train a new run, or use head mlp or linear",
        )
    places = [(n, run.labels.index(name)) for n, name in enumerate(labels) if name in run.labels]
    here, there = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
    found = {}
    for name in fresh:
        taken = axes[name] if axes is not None else set()
        kept = [size for axis, size in enumerate(fresh[name].shape) if axis not in taken]
        if name not in old or [s for axis, s in enumerate(old[name].shape) if axis not in taken] != kept:
            shapes = (tuple(old[name].shape) if name in old else "nothing", tuple(fresh[name].shape))
            raise ConfigError(
                f"{run.name} has another architecture: {name} is {shapes[0]} there and {shapes[1]} here",
                f"Give the settings of its head and fusion (see {run.path / 'config.toml'})",
            )
        if not taken:
            found[name] = old[name].clone()
            continue
        value, source = fresh[name].clone(), old[name]
        for axis in taken:
            source = source.index_select(axis, there)
        index = torch.meshgrid(
            *(here if axis in taken else torch.arange(size) for axis, size in enumerate(value.shape)),
            indexing="ij",
        )
        found[name] = value.index_put_(index, source)
    return found
