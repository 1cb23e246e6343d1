"""Settings of stage two: everything that decides a run, apart from the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from clipfuse.settings import Choice, Settings


class HeadConfig(Choice):
    """A head: features to logits. What else can be set depends on the kind (see ``clipfuse.heads``)."""

    kind: str = "mlp"


class FusionConfig(Choice):
    """How streams become one prediction. What else can be set depends on the kind (see ``clipfuse.fusions``)."""

    kind: str = "sum"


class LossConfig(Choice):
    """What training makes small. What else can be set depends on the kind (see ``clipfuse.losses``)."""

    kind: str = "bce"


class FitConfig(Settings):
    """The training loop.

    Attributes:
        optimizer: adamw (decay apart from the gradient), adam (decay as part of it), adafactor. Decay is on matrices
            only.
        schedule: of the learning rate: constant; cosine, to zero over the steps after warm-up; multi-step, times
            ``step_factor`` after each of ``milestones`` (shares of all steps); plateau, times ``step_factor`` when the
            validation loss (without validation: the training loss) has not fallen for ``plateau_epochs``.
        cycles: of cosine: how often it starts anew and falls to zero, each time over as many epochs.
        warmup: share of all steps in which the learning rate rises from zero in a line.
        batch_size: rows of one step, or all; None takes a 32nd of the rows, between 16 and 256: small sets need steps.
        epochs: at most.
        patience: stop when validation has not improved for so many epochs; None never stops early.
        ema: the kept weights are a running mean of the weights with this decay a step (less in the first steps); None
            keeps the last ones.
        clip_norm: longest gradient; None does not clip.
        precision: what matrix products compute in; auto takes bfloat16 where the device has instructions for it.
        loss: what is made small.
        label_weights: weight of each label's terms, from its positive training rows: none; log-frequency, S4's, which
            favours rare and frequent labels; inverse-frequency; effective-number, which levels off.
        label_smoothing: targets are drawn so far towards one half.
        reduction: of the loss over a batch: mean over cells, or sum over cells.
        modality_dropout: chance that a row that has several modalities loses one of them in a step.
        oversample: rows with a label that is rarer than this share of rows are drawn more often; None draws each once.
        undersample: rows whose labels are all more frequent than this share are drawn less often; None likewise. Not
            below ``oversample``: no row is both.
    """

    optimizer: Literal["adamw", "adam", "adafactor"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-2, ge=0, le=10)
    schedule: Literal["cosine", "constant", "multi-step", "plateau"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    step_factor: float = Field(default=0.1, gt=0, lt=1)
    plateau_epochs: PositiveInt = 5
    cycles: PositiveInt = 1
    warmup: float = Field(default=0.0, ge=0, lt=1)
    batch_size: PositiveInt | Literal["all"] | None = None
    epochs: int = Field(default=8, ge=1)
    patience: int | None = Field(default=None, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    loss: LossConfig = LossConfig()
    label_weights: Literal["none", "log-frequency", "inverse-frequency", "effective-number"] = "none"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    reduction: Literal["mean", "sum"] = "mean"
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    oversample: float | None = Field(default=None, gt=0, le=1)
    undersample: float | None = Field(default=None, gt=0, lt=1)

    @field_validator("undersample")
    @classmethod
    def _not_both(cls, undersample: float | None, known: ValidationInfo) -> float | None:
        oversample = known.data.get("oversample")
        if undersample is not None and oversample is not None and undersample < oversample:
            raise ValueError(f"must not be below oversample ({oversample})")
        return undersample


SHARED = ("loss", "label_weights", "oversample", "undersample")
"""What a training is to learn, apart from how. (Smoothing keeps parts from being too sure; a combiner that is smoothed,
too, scores .8317 where it scores .8335 without, four-fold cross-validation of ``sum`` on 8,000 photographs.)"""


class PartConfig(Settings):
    """What one part of a stacked fusion has of its own; None, and what is not set in ``fit``, takes the run's.
    ``fusion`` sets more of a part that is a fusion with settings: it is of that kind."""

    fusion: FusionConfig | None = None
    head: HeadConfig | None = None
    fit: FitConfig | None = None


class CombinerFitConfig(FitConfig):
    """The training loop of a combiner, which is small. What it learns (``SHARED``) is that of its parts where it is not
    set here."""

    learning_rate: float = Field(default=2e-2, gt=0, le=10)
    epochs: int = Field(default=12, ge=1)


class StackingConfig(Settings):
    """What the combiner of a stacked fusion learns from.

    Attributes:
        method: out-of-fold, what parts that were trained on other folds say of the training rows; validation, what the
            parts say of the validation rows; in-sample, of their own training rows; joint, everything is trained at
            once.
        folds: of out-of-fold.
        fit: how the combiner is trained.
    """

    method: Literal["out-of-fold", "validation", "in-sample", "joint"] = "out-of-fold"
    folds: int = Field(default=2, ge=2)
    fit: CombinerFitConfig = CombinerFitConfig()


class StreamConfig(Settings):
    """Which feature tables a modality is read from; no encoder takes the only one there is, and its default output.

    Attributes:
        encoder: the encoders' names.
        output: of all of them.
        views: views of the inputs that training draws from besides the inputs as they are: "flip", "rotate:10",
            "crops:4", "synonyms:2", ..., or "all" that the cache holds.
    """

    encoder: tuple[str, ...] = ()
    output: str | None = None
    views: tuple[str, ...] = ()

    @field_validator("encoder", mode="before")
    @classmethod
    def _one_encoder(cls, value: Any) -> Any:
        """One name may stand without brackets."""
        return (value,) if isinstance(value, str) else () if value is None else value


class EnsembleConfig(Settings):
    """Several models whose probabilities are averaged.

    Attributes:
        kind: seeds, the same rows and other seeds; folds, each member is trained without one fold of the training rows;
            snapshots, one training with cosine cycles, a member from the end of each (Huang et al. 2017).
        size: members. The epochs of snapshots are those of all cycles together.
    """

    kind: Literal["none", "seeds", "folds", "snapshots"] = "none"
    size: int = Field(default=5, ge=2, le=100)


class PseudoLabelConfig(Settings):
    """How unlabelled rows are trained on, where there are any: with labels that the model of the round before gives.

    A cell (row and label) that the model is sure of counts as 0 or 1; the others keep its probability as a soft target,
    so that they teach nothing new.

    Attributes:
        rounds: at most; training ends when validation micro-F1 does not improve.
        select: which cells are sure: threshold, probabilities of at least ``high`` or at most ``low``; share, for each
            label the surest ``share`` of the cells that it has and of those that it does not have.
        high, low: of threshold.
        share: of share.
        weight: how far a sure cell's target is moved from its probability to 0 or 1.
        similarity: cosine of centred features from which an unlabelled row is a near-duplicate of a validation or test
            row, and left out.
    """

    rounds: PositiveInt = 3
    select: Literal["threshold", "share"] = "share"
    high: float = Field(default=0.9, gt=0.5, lt=1)
    low: float = Field(default=0.1, gt=0, lt=0.5)
    share: float = Field(default=0.5, gt=0, le=1)
    weight: float = Field(default=1.0, gt=0, le=1)
    similarity: float = Field(default=0.9, gt=0, le=1)


class TrainConfig(Settings):
    """Everything that decides a run, apart from the rows.

    Attributes:
        recipe: name of the recipe that the settings come from; what is set besides wins over it.
        head, fusion: what is trained.
        parts: part of a stacked fusion -> what it has of its own.
        stacking: how parts and combiner are trained.
        fit: the training loop.
        image, text: which feature tables are read.
        features: what estimators read of captions: embeddings, or counts or TF-IDF of their words, those that training
            rows have.
        modalities: what a fusion of several reads; numbers are the table's numeric columns.
        bias: the number that a head adds to a label's logit starts as its log-odds among the training rows, or at
            random.
        scale: whether features are standardised on the training rows; numbers always are.
        absent: what stands for an input that a row does not have: a learned vector, or zeros (the training mean).
        average_views: probabilities are the mean over the inputs as they are and all their views.
        thresholds: 0.5, or by validation: the one of the highest expected micro-F1 if probabilities are right, the one
            that scores best, or one a label.
        empty_rows: what becomes of a row with no label above its threshold: nothing, or it gets its most probable one.
        calibration: of the probabilities, on validation: none, one temperature, or Platt's two numbers a label.
        ensemble: whether several models are averaged.
        pseudo_labels: how unlabelled rows are trained on.
        refit: train the kept model once more on all labelled rows.
        storage: what the kept weights are stored in.
        memory_gb: what features may take of memory, in GB; more than that stays on disk and is read in blocks. None:
            half of the machine's memory.
        seed: of weights, orders, dropout and folds.
    """

    recipe: str | None = None
    head: HeadConfig = HeadConfig()
    fusion: FusionConfig = FusionConfig()
    parts: Mapping[str, PartConfig] = {}
    stacking: StackingConfig = StackingConfig()
    fit: FitConfig = FitConfig()
    image: StreamConfig = StreamConfig()
    text: StreamConfig = StreamConfig()
    features: Literal["embeddings", "counts", "tfidf"] = "embeddings"
    modalities: tuple[Literal["image", "text", "numbers"], ...] = ("image", "text")
    bias: Literal["log-odds", "random"] = "log-odds"
    scale: bool = True
    absent: Literal["learned", "zeros"] = "learned"
    average_views: bool = False
    thresholds: Literal["fixed", "expected", "common", "per-label"] = "fixed"
    empty_rows: Literal["nothing", "most-probable"] = "nothing"
    calibration: Literal["none", "temperature", "platt"] = "none"
    ensemble: EnsembleConfig = EnsembleConfig()
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()
    refit: Literal["none", "all"] = "none"
    storage: Literal["float32", "float16", "int8"] = "float32"
    memory_gb: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)

    def fit_of(self, part: str) -> FitConfig:
        """How a part is fitted: what is set for it, and what is set for all."""
        own = self.parts.get(part)
        if own is None or own.fit is None:
            return self.fit
        return self.fit.model_copy(update={name: getattr(own.fit, name) for name in own.fit.model_fields_set})

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, modalities: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(modalities)) < len(modalities):
            raise ValueError("names one of them twice")
        return modalities

    @property
    def combiner_fit(self) -> FitConfig:
        """How the combiner is fitted."""
        own = self.stacking.fit
        shared = {name: getattr(self.fit, name) for name in SHARED if name not in own.model_fields_set}
        return own.model_copy(update=shared)

    def resolved(self) -> TrainConfig:
        """The same with the settings of every part and of the combiner written out, so that what is kept of a run says
        all of them."""
        stacking = self.stacking.model_copy(update={"fit": self.combiner_fit})
        return self.with_fits(lambda fit: fit).model_copy(update={"stacking": stacking})

    def with_fits(self, change: Callable[[FitConfig], FitConfig]) -> TrainConfig:
        """The same with a change of how everything but the combiner is fitted; parts' settings are written out."""
        parts = {
            name: own if own.fit is None else own.model_copy(update={"fit": change(self.fit_of(name))})
            for name, own in self.parts.items()
        }
        return self.model_copy(update={"fit": change(self.fit), "parts": parts})
