"""The scikit-learn side: its own checks, and what clipfuse adds."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from clipfuse.classifier import FusionClassifier, side_by_side
from clipfuse.errors import ConfigError, UnknownName

LABELS = 3
LARGE = {"fit": {"batch_size": 32, "learning_rate": 5e-3}}


@pytest.fixture(scope="module")
def data():
    """160 rows: pictures know the first label, captions the second, only both the third."""
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(160, 6)), rng.normal(size=(160, 4))
    y = np.column_stack([image[:, 0] > 0, text[:, 0] > 0, image[:, 1] + text[:, 1] > 0]).astype(int)
    return {"image": image, "text": text}, y


@parametrize_with_checks([FusionClassifier(epochs=1)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_two_modalities_know_more_than_one(data):
    features, y = data
    quick = FusionClassifier(epochs=10, settings=LARGE, random_state=1)
    both = clone(quick).fit(features, y)
    alone = clone(quick).fit({"image": features["image"]}, y)
    assert f1_score(y, both.predict(features), average="macro") > 0.9
    assert f1_score(y, alone.predict({"image": features["image"]}), average="macro") < 0.9
    probabilities = both.predict_proba(features)
    assert probabilities.shape == (160, LABELS) and probabilities.dtype == np.float64
    assert np.array_equal(both.predict(features), probabilities >= both.thresholds_)
    assert [classes.tolist() for classes in both.classes_] == [[0, 1]] * LABELS
    assert {entry["part"] for entry in both.history_} >= {"image", "text"}


def test_the_same_seed_gives_the_same_bits(data):
    features, y = data
    one, same, other = (FusionClassifier(epochs=1, random_state=seed).fit(features, y) for seed in (1, 1, 2))
    assert np.array_equal(one.predict_proba(features), same.predict_proba(features))
    assert not np.array_equal(one.predict_proba(features), other.predict_proba(features))


def test_random_states_of_scikit_learn(data):
    features, y = data

    def fit(state):
        return FusionClassifier(epochs=1, random_state=state).fit(features, y).predict_proba(features)

    one, same, other = fit(np.random.RandomState(1)), fit(np.random.RandomState(1)), fit(np.random.RandomState(2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.array_equal(fit(np.int64(1)), fit(1)) and not np.array_equal(fit(None), fit(None))


def test_columns_of_a_data_frame_are_told_apart(data):
    pa = pytest.importorskip("pyarrow")
    features, y = data
    columns = {f"c{n}": column for n, column in enumerate(features["image"].T[:4])}
    model = FusionClassifier(epochs=1).fit(pa.table(columns), y)
    assert list(model.feature_names_in_) == list(columns) and model.predict(pa.table(columns)).shape == y.shape
    with pytest.raises(ValueError, match="same order"):
        model.predict(pa.table(dict(reversed(columns.items()))))
    assert not hasattr(model.fit(features, y), "feature_names_in_")


def test_an_array_of_modalities_can_be_cut_into_folds(data):
    features, y = data
    rows = side_by_side(features)
    assert rows.shape == (160,) and rows["text"].shape == (160, 4)
    model = FusionClassifier(head="linear", epochs=4, settings=LARGE)
    scores = cross_val_score(model, rows, y, cv=KFold(2), scoring="f1_micro")
    assert len(scores) == 2 and scores.min() > 0.6
    whole = FusionClassifier(epochs=1).fit(features, y).predict_proba(features)
    assert np.array_equal(whole, FusionClassifier(epochs=1).fit(rows, y).predict_proba(rows))


def test_in_a_pipeline_and_a_grid(data):
    features, y = data
    pipeline = make_pipeline(StandardScaler(), FusionClassifier(epochs=1)).fit(features["image"], y)
    assert pipeline.predict(features["image"]).shape == (160, LABELS)
    several = make_pipeline("passthrough", FusionClassifier(epochs=1)).fit(features, y)
    assert several.predict(features).shape == (160, LABELS)
    search = GridSearchCV(FusionClassifier(fusion="concat"), {"head": ["linear", "knn"]}, cv=2, scoring="f1_micro")
    assert search.fit(side_by_side(features), y).best_params_["head"] in ("linear", "knn")


def test_rows_of_nan_lack_an_input(data):
    features, y = data
    image = features["image"].copy()
    image[::3] = np.nan
    model = FusionClassifier(epochs=2).fit({**features, "image": image}, y)
    blank = model.predict_proba({"image": np.full((2, 6), np.nan), "text": features["text"][:2]})
    assert np.isfinite(blank).all()
    assert not np.array_equal(blank, model.predict_proba({name: value[:2] for name, value in features.items()}))
    image[0, 1] = 0.0
    with pytest.raises(ValueError, match="not NaN as a whole"):
        model.predict({**features, "image": image})


def test_numbers_and_second_encoders_are_read(data):
    features, y = data
    more = {**features, "image-2": features["image"][:, ::-1], "numbers": np.full((160, 2), np.nan)}
    more["numbers"][:100, 0] = y[:100, 0]
    model = FusionClassifier(epochs=3).fit(more, y)
    assert model.n_features_in_ == 18
    assert model.finished_.predictor.streams == ("image", "image-2", "text", "numbers")


def test_settings_as_train_head_has_them(data):
    features, y = data
    settings = {"ensemble": {"kind": "seeds", "size": 2}, "fit": {"loss": {"kind": "focal"}}}
    model = FusionClassifier(head="linear", epochs=2, thresholds="per-label", calibration="platt", settings=settings)
    model.fit(features, y)
    assert len(set(model.thresholds_)) > 1
    assert {entry["part"].split(" ")[0] for entry in model.history_} != {"image", "text"}
    with pytest.raises(UnknownName, match=r"'mlpp'.*mlp"):
        FusionClassifier(head="mlpp").fit(features, y)
    with pytest.raises(ConfigError, match="fit"):
        FusionClassifier(settings={"fit": {"epoch": 3}}).fit(features, y)


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        ({}, None, "no modality"),
        ({"image": np.zeros((160, 2)), "text": np.zeros((159, 2))}, None, "as many rows"),
        ({"image": np.zeros(160)}, None, r"should be \(rows, dim\)"),
        ({"picture": np.zeros((160, 2))}, None, "'picture' is no modality"),
        (None, np.full((160, 2), 2), "of 0 and 1|multioutput|multiclass"),
        (None, np.arange(160) % 40, "40 classes"),
        (None, np.zeros((100, 2)), r"\[160, 100\]"),
    ],
)
def test_shapes_that_do_not_fit_are_said(data, features, labels, said):
    whole, y = data
    with pytest.raises(ValueError, match=said):
        FusionClassifier().fit(whole if features is None else features, y if labels is None else labels)


def test_other_features_than_were_fitted(data):
    features, y = data
    model = FusionClassifier(epochs=1).fit(features, y)
    with pytest.raises(ValueError, match="'text': 4} were fitted"):
        model.predict({"image": features["image"]})
