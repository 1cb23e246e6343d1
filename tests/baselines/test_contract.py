"""What every baseline promises, for each one in the registry."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from clipfuse.baselines import BASELINES, EstimatorHead, check_baseline, fit_estimator, load_estimator
from clipfuse.errors import ConfigError, TrainingError, UnknownName
from clipfuse.settings import Choice
from clipfuse.table_streams import TableStreams

SMALL = {
    "knn": {"n_neighbors": 7},
    "random-forest": {"n_estimators": 20},
    "extra-trees": {"n_estimators": 20},
    "boosting": {"max_iter": 20, "min_samples_leaf": 5},
    "bagging": {"n_estimators": 5},
}
SAID = ("knn", "svc", "linear-svc", "logistic", "random-forest", "extra-trees", "decision-tree", "bagging", "boosting")


def data(labels=3, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, x[:, :labels] + 0.3 * x[:, 3:4] > 0


def choice(name, **more):
    return Choice(kind=name, **SMALL.get(name, {}) | more)


def of_words(rows=120):
    """Captions, and labels "has a dog", "has a cat", "has a bus"."""
    rng = np.random.default_rng(1)
    y = rng.random((rows, 3)) < 0.4
    fill = ("street", "sunny", "photo", "red", "old")
    names = ("dog", "cat", "bus")
    return [
        " ".join([*rng.choice(fill, 3), *(name for name, there in zip(names, row, strict=True) if there)]) for row in y
    ], y


def codes(captions):
    table = SimpleNamespace(captions=captions)
    return TableStreams(caption_bytes=64).read(table, "cpu").values["text"][:, 0].numpy().astype(np.float32)


def fitted(name, labels=3, rows=200, **more):
    x, y = data(labels, rows)
    return fit_estimator(choice(name, **more), x, y)


def test_registry_has_them_all():
    more = ("multinomial-nb", "complement-nb", "label-powerset-svc", "classifier-chain", "ridge")
    assert set(BASELINES) >= {*SAID, *more}


@pytest.mark.parametrize("name", BASELINES)
class TestEveryBaseline:
    @pytest.mark.parametrize("labels", [1, 2, 3])
    def test_gives_one_score_a_label_without_a_warning(self, name, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = fitted(name, labels).scores(data(labels, seed=1)[0])
        assert found.shape == (200, labels)
        assert found.dtype == np.float64
        assert 0 <= found.min() < found.max() <= 1

    @pytest.mark.parametrize("labels", [1, 3])
    def test_learns_what_can_be_learned(self, name, labels):
        x, y = data(labels, seed=1)
        said = fitted(name, labels, rows=600).scores(x)
        assert roc_auc_score(y, said, average="micro") > 0.8
        if not name.endswith("-nb"):  # which rank well, and can be far off with their cut
            chosen = said >= 0.5
            assert 2 * (chosen & y).sum() / (chosen.sum() + y.sum()) > 0.85

    def test_is_deterministic(self, name):
        x = data(seed=1)[0]
        assert np.array_equal(fitted(name).scores(x), fitted(name).scores(x))

    def test_a_row_does_not_depend_on_its_batch(self, name):
        x, found = data(seed=1)[0], fitted(name)
        alone = np.concatenate([found.scores(x[row : row + 1]) for row in range(20)])
        np.testing.assert_allclose(alone, found.scores(x)[:20], atol=1e-5)
        assert found.scores(x[:0]).shape == (0, 3)

    def test_rows_without_input_give_scores(self, name):
        assert np.isfinite(fitted(name).scores(np.zeros((2, 6), np.float32))).all()

    @pytest.mark.parametrize("labels", [1, 3])
    @pytest.mark.parametrize("constant", [False, True])
    def test_a_label_that_never_or_always_applies(self, name, labels, constant):
        x, y = data(labels)
        plain = y.copy()
        y[:, -1] = constant
        found = fit_estimator(choice(name), x, y)
        np.testing.assert_array_equal(found.scores(x)[:, -1], float(constant))
        if labels > 1:  # the others are as if it were not there
            others = fit_estimator(choice(name), x, plain[:, :-1])
            np.testing.assert_allclose(found.scores(x)[:, :-1], others.scores(x), atol=1e-6)

    def test_is_saved_without_pickle_and_loaded_as_it_was(self, name):
        x, found = data(seed=1)[0], fitted(name)
        again = load_estimator(found.to_bytes(), choice(name))
        np.testing.assert_allclose(again.scores(x), found.scores(x), atol=1e-5)
        assert again.numbers == found.numbers > 0
        assert found.to_bytes() == fitted(name).to_bytes()  # whenever and wherever it is made

    def test_another_baselines_file_is_refused(self, name):
        other = "ridge" if name != "ridge" else "knn"
        with pytest.raises(TypeError, match=f"is no {name}"):
            load_estimator(fitted(other).to_bytes(), choice(name))

    def test_few_rows(self, name):
        x, y = data()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit_estimator(choice(name), x[:40], data(labels=6, rows=40)[1])
        y[:5, 0], y[:5, 1] = [True, False, True, False, True], [False, True, True, False, False]
        assert fit_estimator(choice(name), x[:5], y[:5]).scores(x).shape == (200, 3)

    def test_components(self, name):
        found = fitted(name, pca=3)
        assert next(step for step, _ in found.pipeline.steps) == "pca"
        assert found.scores(data()[0]).shape == (200, 3)
        assert "pca" not in dict(fitted(name, pca=0).pipeline.steps)

    def test_unknown_parameters_are_refused_by_the_nearest_name(self, name):
        with pytest.raises(ConfigError, match=f"head {name}: unknown setting 'pcs'.*'pca'"):
            check_baseline(Choice(kind=name, pcs=3))

    @pytest.mark.parametrize("words", ["counts", "tfidf"])
    def test_reads_words(self, name, words):
        captions, y = of_words()
        x = codes(captions)
        found = fit_estimator(choice(name), x, y, words=words)
        unseen = codes(["a unicorn", "", "Ein Häuschen"])
        assert np.isfinite(found.scores(unseen)).all()
        assert roc_auc_score(y, found.scores(x), average="micro") > 0.8
        again = load_estimator(found.to_bytes(), choice(name))
        np.testing.assert_allclose(again.scores(x), found.scores(x), atol=1e-5)
        assert found.to_bytes() == fit_estimator(choice(name), x, y, words=words).to_bytes()
        reordered = codes([" ".join(reversed(caption.upper().split())) for caption in captions])
        np.testing.assert_allclose(found.scores(reordered), found.scores(x), atol=1e-9)

    def test_as_a_head(self, name):
        x, y = data()
        head = EstimatorHead(6, 3, choice(name))
        head.fit(x, y, seed=0)
        logits = head(torch.from_numpy(x)[:, None])
        assert logits.dtype == torch.float32 and logits.isfinite().all()
        np.testing.assert_allclose(torch.sigmoid(logits), fit_estimator(choice(name), x, y).scores(x), atol=1e-5)


def test_values_that_can_not_be_are_refused():
    with pytest.raises(ConfigError, match="head svc: The 'C' parameter of SVC must be"):
        fitted("svc", C=-1.0)
    with pytest.raises(ConfigError, match="pca is 'many'"):
        check_baseline(Choice(kind="knn", pca="many"))
    with pytest.raises(ConfigError, match="pca is True"):
        check_baseline(Choice(kind="knn", pca=True))
    with pytest.raises(UnknownName, match=r"'knm'.*'knn'"):
        check_baseline(Choice(kind="knm"))


def test_parameters_have_scikit_learns_names():
    assert fitted("logistic", C=3.0).pipeline.steps[-1][1].estimator.C == 3.0
    assert fitted("knn", n_neighbors=500).pipeline.steps[-1][1].n_neighbors == 200  # there are no more rows


def test_the_seed_decides_what_is_random():
    x, y = data()
    one, same, other = (fit_estimator(choice("random-forest"), x, y, seed=seed).scores(x) for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_file_with_other_types_is_refused():
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    hostile = skops.io.dumps({"pipeline": FunctionTransformer(print), "constant": np.zeros(1)})
    with pytest.raises(Exception, match="print"):
        load_estimator(hostile, choice("knn"))


def test_settings_that_fit_but_can_not_be_asked_are_refused():
    for name, settings in (("label-powerset-svc", {"decision_function_shape": "ovo"}), ("knn", {"n_neighbors": None})):
        with pytest.raises(TrainingError, match=f"head {name} can't be fitted: "):
            fitted(name, **settings)


def test_what_could_not_be_read_again_is_not_written():
    found = fitted("knn", algorithm="kd_tree", metric="euclidean")
    with pytest.raises(TrainingError, match=r"can't be kept: .*KDTree"):
        found.to_bytes()


def test_trees_count_what_they_keep():
    small, large = fitted("decision-tree", rows=50), fitted("decision-tree", rows=2000)
    assert large.numbers > 5 * small.numbers > 0


def test_linear_ones_are_held_the_more_the_wider_the_features_are():
    assert pytest.approx(BASELINES.get("logistic").make(10).C / 100) == BASELINES.get("logistic").make(1000).C
    assert pytest.approx(BASELINES.get("linear-svc").make(10).C / 100) == BASELINES.get("linear-svc").make(1000).C
    assert BASELINES.get("ridge").make(1000).alpha == pytest.approx(100 * BASELINES.get("ridge").make(10).alpha)
    assert fitted("ridge").pipeline.steps[-1][1].alpha == pytest.approx(0.6 * 6)
    assert fitted("ridge", pca=3).pipeline.steps[-1][1].alpha == pytest.approx(0.6 * 3)
