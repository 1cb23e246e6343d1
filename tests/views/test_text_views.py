"""Captions in other words, and with fewer."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.views import parse_views
from clipfuse.views.synonyms import Synonyms
from clipfuse.views.word_dropout import WordDropout
from clipfuse.views.word_list import WordList, read_word_list

CAPTIONS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coco18" / "captions-only.csv"
LIST = WordList((("apple", "banana"), ("box", "crate"), ("car", "auto"), ("dog", "hound"), ("hall", "living room")))
WORDS = sorted(word for group in LIST.groups for word in group)
ANY = st.text(max_size=60) | st.lists(st.sampled_from([*WORDS, "A", "an", "  ", "\n", "Dogs!", "CAR"])).map(" ".join)
DIGESTS = st.binary(min_size=16, max_size=16)


def spaces(text):
    return re.split(r"\S+", text)


def words(text):
    return re.findall(r"\S+", text)


@settings(max_examples=60, deadline=None)
@given(ANY, st.integers(1, 5), DIGESTS)
def test_synonyms_of_any_text(text, count, digest):
    view = Synonyms(count, WordList((("apple", "banana"), ("box", "crate"), ("car", "auto"), ("dog", "hound"))))
    result = view.apply(text, digest)
    assert view.apply(text, digest) == result
    assert spaces(result) == spaces(text)
    changed = [pair for pair in zip(words(text), words(result), strict=True) if pair[0] != pair[1]]
    assert sum(old.lower() not in ("a", "an") for old, _ in changed) <= count


@settings(max_examples=60, deadline=None)
@given(ANY, st.floats(0.01, 0.99), DIGESTS)
def test_dropout_of_any_text(text, probability, digest):
    view = WordDropout(probability)
    result = view.apply(text, digest)
    assert view.apply(text, digest) == result
    rest = iter(words(text))
    assert all(word in rest for word in words(result))  # in their order
    assert any(map(str.isalnum, result)) == any(map(str.isalnum, text))
    if words(text):
        assert (spaces(result)[0], spaces(result)[-1]) == (spaces(text)[0], spaces(text)[-1])
    else:
        assert result == text


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("a dog", "a hound"),
        ("Dog", "Hound"),
        ("DOG", "HOUND"),
        ('the "dog", here', 'the "hound", here'),
        ("(Dogs)  run", "(Hounds)  run"),
        ("DOGS", "HOUNDS"),
        ("a car", "an auto"),
        ("An auto", "A car"),
        ("AN AUTO", "A CAR"),
        ("A CAR", "An AUTO"),
        ("a\tbanana", "an\tapple"),
        ("boxs crates", "boxs crates"),  # the plural of box is none in -s
        ("hall", "living room"),
        ("Hall", "Living room"),
        ("living room", "living room"),
        ("doggy hotdog dog's", "doggy hotdog dog's"),
        ("", ""),
    ],
)
def test_forms(text, wanted):
    assert Synonyms(1, LIST).apply(text, bytes(16)) == wanted


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_as_many_as_asked_for_or_as_there_are(count, digest):
    text = "the dog in the car and the crate"
    results = {Synonyms(count, LIST).apply(text, digest(number)) for number in range(30)}
    changes = {sum(a != b for a, b in zip(text.split(), result.split(), strict=True)) for result in results}
    assert changes == {min(count, 3)}
    assert len(results) == (3 if count < 3 else 1)


@pytest.mark.parametrize(
    "article, noun", [("an", "umbrella"), ("a", "uniform"), ("an", "hour"), ("an", "8"), ("a", "one")]
)
def test_articles_go_by_sound(article, noun):
    view = Synonyms(1, WordList((("thing", noun),)))
    assert view.apply("a thing", bytes(16)) == f"{article} {noun}"


def test_dropout_leaves_out_about_the_share(digest):
    text = " ".join(f"w{number}" for number in range(50))
    kept = [len(words(WordDropout(0.3).apply(text, digest(number)))) for number in range(40)]
    assert 0.65 < sum(kept) / (50 * 40) < 0.75
    assert len(set(kept)) > 3


def test_dropout_takes_the_space_before_a_word(digest):
    results = {WordDropout(0.5).apply(" a  b\tc \n", digest(number)) for number in range(60)}
    assert results == {" a  b\tc \n", " a  b \n", " a\tc \n", " b\tc \n", " a \n", " b \n", " c \n"}


def test_two_replacements_in_most_captions():
    if not CAPTIONS.exists():
        pytest.skip(f"{CAPTIONS} is not there")
    from clipfuse.config import TableConfig
    from clipfuse.data import load_dataset
    from clipfuse_cache.fingerprint import input_digest

    joined = tuple(tuple(word.replace(" ", "-") for word in group) for group in read_word_list().groups)
    view = Synonyms(2, WordList(joined))  # one word for one, so that they can be counted
    captions = [text for text in load_dataset(TableConfig(table=CAPTIONS)).captions if text][:2000]
    replaced = []
    for text in captions:
        result = view.apply(text, input_digest(text.encode()))
        pairs = zip(words(text), words(result), strict=True)
        replaced.append(sum(old != new and old.lower() not in ("a", "an") for old, new in pairs))
    assert len(captions) == 2000
    assert replaced.count(2) / len(captions) >= 0.85


def test_the_shipped_list_is_clean():
    text = (Path(__file__).resolve().parents[2] / "clipfuse" / "views" / "synonyms.txt").read_text()
    assert all(line == line.lower() for line in text.splitlines() if not line.startswith("#"))
    assert "Apache-2.0" in text.splitlines()[0]
    groups = read_word_list().groups
    everything = [word for group in groups for word in group]
    assert len(groups) >= 350
    assert len(everything) == len(set(everything))
    assert all(re.fullmatch(r"[a-z0-9]+([ -][a-z0-9]+)*", word) for word in everything)
    assert all(any(" " not in word for word in group) for group in groups)


@pytest.mark.parametrize("word", ["news", "besides", "olds", "rounds", "foxs", "boxs", "policemans", "aircrafts"])
def test_what_only_looks_like_a_plural_stays(word):
    (view,) = parse_views(["synonyms:9"])
    assert view.apply(word, bytes(16)) == word
