"""train-head's options: what each sets, what help says of it, recipes and --set."""

import json
import re

import pytest
import typer

from clipfuse.errors import ConfigError
from clipfuse.train_config import TrainConfig
from clipfuse_cli.assignments import merged, parse_assignments


@pytest.fixture(scope="module")
def options():
    """Name -> option of train-head."""
    from clipfuse_cli.main import app

    return {option.name: option for option in typer.main.get_command(app).commands["train-head"].params}


@pytest.fixture
def asked(cli, monkeypatch):
    """``asked(*arguments, command="train-head")`` -> the TrainConfig that training would start with."""
    import clipfuse.check_config as module
    import clipfuse.prepare  # noqa: F401  (it takes the function that is replaced here when it is imported)

    seen = []

    def stop(config):
        seen.append(config)
        raise ConfigError("that is enough")

    monkeypatch.setattr(module, "check_config", stop)

    def run(*arguments, command="train-head"):
        result = cli(command, *arguments)
        assert "that is enough" in result.stderr, result.stderr
        return seen.pop()

    return run


def test_help_names_everything_that_is_registered(options):
    from clipfuse.baselines import BASELINES
    from clipfuse.fusions import fusion_names
    from clipfuse.heads import HEADS
    from clipfuse.losses import LOSSES

    for option, names in (("fusion", fusion_names()), ("head", [*HEADS, *BASELINES]), ("loss", LOSSES)):
        assert set(names) <= set(re.findall(r"[a-z0-9-]+", options[option].help)), option


DEFAULTS = {
    "fusion": lambda c: c.fusion.kind,
    "head": lambda c: c.head.kind,
    "stacking": lambda c: c.stacking.method,
    "folds": lambda c: c.stacking.folds,
    "loss": lambda c: c.fit.loss.kind,
    "modalities": lambda c: ",".join(c.modalities),
    **{
        name: lambda c, name=name: getattr(c.fit, name)
        for name in (
            "optimizer",
            "schedule",
            "learning_rate",
            "weight_decay",
            "epochs",
            "modality_dropout",
            "label_weights",
        )
    },
    **{
        name: lambda c, name=name: getattr(c, name)
        for name in ("seed", "thresholds", "empty_rows", "calibration", "refit", "storage")
    },
}


def test_defaults_in_the_help_are_the_defaults(options):
    from clipfuse.baselines import BASELINES
    from clipfuse.config import SplitConfig
    from clipfuse.heads import HEADS
    from clipfuse.settings import Choice

    for name, of in DEFAULTS.items():
        assert options[name].show_default == str(of(TrainConfig())), name
    mlp, split = HEADS.settings(Choice(kind="mlp")), SplitConfig()
    assert options["hidden"].show_default == ",".join(map(str, mlp.hidden))
    assert options["dropout"].show_default == f"{mlp.dropout} for mlp"
    assert options["activation"].show_default == mlp.activation
    assert options["neighbors"].show_default == str(BASELINES.get("knn").make(1).n_neighbors)
    found = [options[name].show_default for name in ("split", "validation", "test", "split_seed")]
    assert found == [split.method, str(split.validation), str(split.test), str(split.seed)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fusion", "gated"], {"fusion": {"kind": "gated"}}),
        (["--hidden", "64,32", "--dropout", "0.2"], {"head": {"kind": "mlp", "hidden": [64, 32], "dropout": 0.2}}),
        (["--activation", "relu"], {"head": {"kind": "mlp", "activation": "relu"}}),
        (
            ["--head", "knn", "--neighbors", "4", "--fusion", "text"],
            {"head": {"kind": "knn", "n_neighbors": 4}, "fusion": {"kind": "text"}},
        ),
        (["--head", "knn"], {"head": {"kind": "knn"}, "fusion": {"kind": "concat"}}),
        (
            ["--head", "knn", "--features", "counts"],
            {"head": {"kind": "knn"}, "fusion": {"kind": "text"}, "features": "counts"},
        ),
        (["--loss", "focal"], {"fit": {"loss": {"kind": "focal"}}}),
        (["--optimizer", "adam", "--schedule", "plateau"], {"fit": {"optimizer": "adam", "schedule": "plateau"}}),
        (["--learning-rate", "0.1", "--weight-decay", "0"], {"fit": {"learning_rate": 0.1, "weight_decay": 0.0}}),
        (["--batch-size", "all", "--epochs", "3"], {"fit": {"batch_size": "all", "epochs": 3}}),
        (
            ["--batch-size", "12", "--patience", "3", "--ema", "0.9"],
            {"fit": {"batch_size": 12, "patience": 3, "ema": 0.9}},
        ),
        (
            ["--modality-dropout", "0.1", "--label-weights", "effective-number"],
            {"fit": {"modality_dropout": 0.1, "label_weights": "effective-number"}},
        ),
        (["--oversample", "0.1", "--undersample", "0.3"], {"fit": {"oversample": 0.1, "undersample": 0.3}}),
        (["--stacking", "validation", "--folds", "7"], {"stacking": {"method": "validation", "folds": 7}}),
        (["--modalities", "text, numbers"], {"modalities": ["text", "numbers"]}),
        (
            ["--image-encoder", "a", "--image-encoder", "b", "--image-output", "c"],
            {"image": {"encoder": ["a", "b"], "output": "c"}},
        ),
        (["--text-encoder", "a", "--text-output", "cls"], {"text": {"encoder": ["a"], "output": "cls"}}),
        (
            ["--thresholds", "common", "--empty-rows", "most-probable"],
            {"thresholds": "common", "empty_rows": "most-probable"},
        ),
        (["--calibration", "platt", "--refit", "all"], {"calibration": "platt", "refit": "all"}),
        (["--storage", "int8", "--seed", "4"], {"storage": "int8", "seed": 4}),
        (["--set", "head.blocks=3", "--head", "gmlp"], {"head": {"kind": "gmlp", "blocks": 3}}),
        (["--set", "fusion.combiner.kind=average"], {"fusion": {"kind": "sum", "combiner": {"kind": "average"}}}),
        (["--set", "train.stacking.fit.epochs=20"], {"stacking": {"fit": {"epochs": 20}}}),
        (
            ["--set", 'image.views=["flip"]', "--set", "average_views=true"],
            {"image": {"views": ["flip"]}, "average_views": True},
        ),
        (["--set", "parts.image.head.kind=linear"], {"parts": {"image": {"head": {"kind": "linear"}}}}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_each_option_sets(asked, arguments, expected):
    assert asked(*arguments) == TrainConfig.model_validate(expected)


SHARED = [
    ["--fusion", "concat", "--head", "gmlp", "--seed", "4"],
    ["--head", "knn"],
    ["--head", "knn", "--set", "fusion.kind=sum"],
    ["--head", "multinomial-nb", "--features", "counts"],
    ["--modalities", "text, numbers"],
    ["--image-encoder", "a", "--image-encoder", "b", "--image-output", "c", "--image-view", "flip"],
    ["--text-encoder", "a", "--text-output", "cls", "--text-view", "all", "--average-views"],
    ["--memory-gb", "2", "--set", "fit.epochs=3", "--set", "thresholds=common"],
    ["--recipe", "best"],
    ["--recipe", "best-tokens", "--set", "ensemble.kind=none", "--image-output", "pooled"],
]


@pytest.mark.parametrize("arguments", SHARED, ids=" ".join)
def test_options_mean_the_same_in_tune(asked, arguments):
    assert asked(*arguments, command="tune") == asked(*arguments) != TrainConfig()


def test_tune_has_every_option_about_features_and_rows(options):
    from clipfuse_cli.data_options import DataOptions
    from clipfuse_cli.main import app

    tune = {option.name: option for option in typer.main.get_command(app).commands["tune"].params}
    about_data = {name for name, option in options.items() if option.rich_help_panel == "Data"}
    shared = {*DataOptions.__dataclass_fields__, "fusion", "head", "recipe", "seed", "assignment"}
    assert "split" in about_data and about_data < shared
    assert {name: tune[name].opts for name in shared} == {name: options[name].opts for name in shared}


def test_a_typed_fusion_is_kept_for_an_estimator(asked):
    assert asked("--head", "knn", "--set", "fusion.kind=sum").fusion.kind == "sum"


class TestRecipes:
    def test_a_recipe_has_its_settings(self, asked):
        from clipfuse.recipes import find_recipe

        assert asked("--recipe", "s2-sum") == find_recipe("s2-sum").train

    def test_options_win_over_it(self, asked):
        from clipfuse.recipes import find_recipe

        recipe = find_recipe("s2-sum").train
        found = asked("--recipe", "s2-sum", "--epochs", "5", "--head", "gmlp", "--set", "stacking.fit.epochs=4")
        assert found.fit == recipe.fit.model_copy(update={"epochs": 5})
        assert (found.head.kind, found.head.options) == ("gmlp", {})
        assert found.fusion == recipe.fusion
        assert found.stacking.fit == recipe.stacking.fit.model_copy(update={"epochs": 4})

    def test_the_file_gives_it_encoders_and_seed_only(self, asked, tmp_path):
        from clipfuse.recipes import find_recipe

        (tmp_path / "clipfuse.toml").write_text(
            '[train]\nseed = 5\nthresholds = "common"\nimage.encoder = "a"\nfit.epochs = 3\nhead.kind = "gmlp"\n'
        )
        found = asked("--recipe", "s1-concat")
        recipe = find_recipe("s1-concat").train
        assert found == recipe.model_copy(update={"seed": 5, "image": found.image})
        assert found.image.encoder == ("a",)
        assert asked().head.kind == "gmlp"

    def test_a_recipe_in_the_file_takes_what_the_file_sets_besides(self, asked, tmp_path):
        from clipfuse.recipes import find_recipe

        (tmp_path / "clipfuse.toml").write_text(
            '[train]\nrecipe = "s2-sum"\nthresholds = "common"\n[train.fit]\nepochs = 3\n'
        )
        recipe = find_recipe("s2-sum").train
        expected = {"thresholds": "common", "fit": recipe.fit.model_copy(update={"epochs": 3})}
        assert asked() == recipe.model_copy(update=expected)
        assert asked("--recipe", "s2-mixed") == find_recipe("s2-mixed").train

    def test_they_are_listed(self, cli):
        from clipfuse.recipes import recipes

        said = cli("recipes")
        assert said.exit_code == 0 and "train-head --recipe NAME" in said.stderr
        lines = [line.split()[:2] for line in said.stdout.splitlines()]
        assert all([one.name, one.source] in lines for one in recipes())
        assert "validation F1 .8538" in said.stdout and "Linear d-2048, GELU, dropout .5" in said.stdout
        listed = json.loads(cli("recipes", "--json").stdout)
        assert [row["name"] for row in listed] == [one.name for one in recipes()]
        for row, one in zip(listed, recipes(), strict=True):
            assert TrainConfig.model_validate(row["train"]) == one.train
            assert row["description"] and row["reported"] and row["source"]

    def test_a_run_of_one_is_called_by_it(self, project, tmp_path):
        runs = tmp_path / "runs"
        project.run("train-head", "--recipe", "s4-fcnn-average", "--runs", runs, name="train recipe")
        assert "s4-fcnn-average" in project.said["train recipe"].stdout
        project.run("train-head", "--recipe", "s4-fcnn-average", "--epochs", "2", "--runs", runs, name="train recipe")
        (group,) = json.loads(project.attempt("bench", "--runs", runs, "--json").stdout)
        assert sorted(run["kind"] for run in group["runs"]) == ["s4-fcnn-average", "s4-fcnn-average-changed"]


class TestAssignments:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a=3", 3),
            ("a = 0.5", 0.5),
            ("a=true", True),
            ("a=word", "word"),
            ("a=label-query", "label-query"),
            ('a="3"', "3"),
            ("a=[1, 2]", [1, 2]),
            ('a={kind = "x"}', {"kind": "x"}),
            ("a=b=c", "b=c"),
            ("a=", ""),
        ],
    )
    def test_values_are_toml_and_bare_words(self, text, value):
        assert parse_assignments([text]) == {"a": value}

    def test_paths(self):
        found = parse_assignments(["head.blocks=3", "train.head.dropout=0.1", "seed=2"])
        assert found == {"head": {"blocks": 3, "dropout": 0.1}, "seed": 2}
        assert parse_assignments([]) == {}

    @pytest.mark.parametrize("text", ["head.blocks", "=3", "a..b=3", ".a=3"])
    def test_what_is_none(self, text):
        with pytest.raises(ConfigError, match=r"--set is .*--set head\.blocks=3"):
            parse_assignments([text])

    def test_they_win_over_flags(self):
        flags = {"fit": {"epochs": 3, "ema": None}, "seed": 1}
        assert merged(flags, {"fit": {"ema": 0.5}, "seed": 2}) == {"fit": {"epochs": 3, "ema": 0.5}, "seed": 2}
        assert flags["fit"]["ema"] is None


EQUAL = ["--set", "fusion.combiner.kind=average", "--set", "fusion.combiner.weights=equal"]


class TestWhatWouldBeIgnored:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--fusion", "concat", "--folds", "3"], "fusion concat has no parts, so stacking"),
            (["--fusion", "text", "--stacking", "joint"], "fusion text has no parts, so stacking"),
            (["--fusion", "image", "--set", "parts.image.head.kind=linear"], "fusion image has no parts, so parts"),
            (["--fusion", "sum", "--set", "parts.concat.head.kind=linear"], "fusion sum has no part 'concat'"),
            (["--stacking", "joint", "--folds", "3"], "stacking joint has no folds"),
            (["--stacking", "joint", "--set", "stacking.fit.epochs=3"], "stacking joint trains the combiner with all"),
            (["--fusion", "average", *EQUAL, "--folds", "3"], "fusion average has nothing to learn"),
            (["--fusion", "max", "--stacking", "in-sample"], "fusion max has nothing to learn"),
            (["--fusion", "image", "--text-encoder", "toy"], "fusion image does not read text, so text.encoder"),
            (["--fusion", "text", "--image-view", "flip"], "fusion text does not read image, so image.views"),
            (["--fusion", "text", "--modality-dropout", "0.5"], "fusion text reads one modality"),
            (["--schedule", "constant", "--cycles", "3"], "fit.cycles is of schedule cosine, this one is constant"),
            (["--set", "fit.milestones=[0.2]"], "fit.milestones is of schedule multi-step, this one is cosine"),
            (["--ensemble", "snapshots:2", "--cycles", "3"], "a cycle for each"),
            (["--cross-validate", "1"], "than or equal"),
            (["--modalities", "image,image"], "names one of them twice"),
            (["--head", "knn", "--epochs", "3"], "head knn is not trained in steps, so fit.epochs"),
            (
                ["--head", "knn", "--features", "tfidf", "--text-output", "mean"],
                "features tfidf are the words of captions, so text.output does nothing",
            ),
        ],
    )
    def test_is_an_error_that_names_it(self, cli, arguments, said):
        found = cli("train-head", *arguments)
        assert found.exit_code == 2
        assert said in " ".join(found.stderr.split())

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--fusion", "image", "--text-encoder", "toy"], "fusion image does not read text, so text.encoder"),
            (["--space", "s4-image-study", "--fusion", "text"], "space s4-image-study sets fusion.kind itself"),
            (["--space", "s4-image-study", "--text-output", "cls"], "fusion image does not read text"),
            (["--space", "s2-study", "--set", "fit.epochs=3"], "space s2-study sets fit.epochs itself"),
        ],
    )
    def test_of_tune_too(self, cli, arguments, said):
        found = cli("tune", *arguments)
        assert found.exit_code == 2
        assert said in " ".join(found.stderr.split())

    def test_what_a_recipe_brings_is_none(self, asked):
        assert asked("--recipe", "s2-sum", "--fusion", "image").fusion.kind == "image"


def test_a_table_that_is_not_there_has_no_cache(tmp_path):
    from clipfuse_cli.train_options import cache_of

    with pytest.raises(ConfigError, match=r"no table and no cache .*nope\.csv"):
        cache_of(tmp_path / "nope.csv")
