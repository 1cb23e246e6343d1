"""What holds for the views of every family in the registry."""

import copy
import pickle
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipfuse.views import VIEWS, View, parse_views

FAMILIES = list(VIEWS)
STILL = {"flip"}  # nothing of these is random
BOTH = ["rotate:5", "rotate:10", "word-dropout:0.1", "word-dropout:0.3", "synonyms:1", "synonyms:2", "crops:3", "flip"]


def views_of(family) -> tuple[View, ...]:
    return parse_views([VIEWS.get(family).example])


def test_there_are_views():
    assert {"flip", "rotate", "crops", "synonyms", "word-dropout"} <= set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_depends_on_the_item_and_its_digest_only(family, items, digest, plain):
    for view in views_of(family):
        inputs = items(view.modality)
        wanted = [plain(view.apply(item, digest(place))) for place, item in enumerate(inputs)]
        before = [plain(item) for item in inputs]
        order = list(range(len(inputs))) * 3
        random.Random(0).shuffle(order)
        again = copy.deepcopy(view)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(again.apply, [inputs[at] for at in order], [digest(at) for at in order]))
        assert [plain(result) for result in results] == [wanted[at] for at in order]
        assert [plain(item) for item in inputs] == before


@pytest.mark.parametrize("family", FAMILIES)
def test_another_digest_may_give_another_result(family, items, digest, plain):
    for view in views_of(family):
        first = items(view.modality)[0]
        results = {plain(view.apply(first, digest(number))) for number in range(12)}
        assert (len(results) == 1) == (family in STILL)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_gives_what_an_encoder_takes(family, items, digest):
    for view in views_of(family):
        assert view.modality == VIEWS.get(family).modality
        for item in items(view.modality):
            result = view.apply(item, digest(1))
            if isinstance(item, str):
                assert isinstance(result, str)
                assert bool(result.strip()) == bool(item.strip())
            else:
                assert result.mode == "RGB"
                assert 1 <= result.width <= item.width and 1 <= result.height <= item.height


@pytest.mark.parametrize("family", FAMILIES)
def test_names_and_settings_are_plain(family):
    assert VIEWS.get(family).about
    for view in views_of(family):
        assert re.fullmatch(r"[a-z0-9.-]+", view.name)
        assert view.settings() == views_of(family)[views_of(family).index(view)].settings()
        assert re.fullmatch(r"[a-z-]+ version=[0-9]+ [a-z=0-9 ./-]+", view.settings())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_can_be_pickled(family, items, digest, plain):
    for view in views_of(family):
        there = pickle.loads(pickle.dumps(view))
        assert there == view and hash(there) == hash(view) and there.settings() == view.settings()
        first = items(view.modality)[0]
        assert plain(there.apply(first, digest(1))) == plain(view.apply(first, digest(1)))


def test_other_settings_have_another_name_and_other_settings():
    views = parse_views(BOTH)
    assert len(views) == 10
    assert len({view.name for view in views}) == len({view.settings() for view in views}) == 10


def test_another_process_draws_the_same(items, digest):
    view, text = parse_views(["synonyms:2"])[0], items("text")[0]
    code = (
        "import sys; from clipfuse.views import parse_views; "
        "print(parse_views(['synonyms:2'])[0].apply(sys.argv[1], bytes.fromhex(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, text, digest(3).hex()]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == view.apply(text, digest(3)) + "\n"
    )


def test_the_random_numbers_are_those_of_every_machine():
    """Written down once: were they to change, features that are on disk already would no longer be reproduced."""
    from clipfuse.views import random_numbers

    draws = random_numbers("crop version=1 index=1", bytes(range(16))).random(3)
    assert draws.tolist() == [0.4641945336427109, 0.4530430657324974, 0.5375528750046571]
