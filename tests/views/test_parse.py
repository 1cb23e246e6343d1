"""What a user types, as views."""

import pytest

from clipfuse.errors import ConfigError, UnknownName
from clipfuse.views import parse_views


def names(*typed, word_list=None):
    return [view.name for view in parse_views(typed, word_list)]


def test_names():
    typed = ["flip", "rotate:7.5", "crops:3", "synonyms:2", "word-dropout:0.10"]
    assert names(*typed) == ["flip", "rotate-7.5", "crop-1", "crop-2", "crop-3", "synonyms-2", "word-dropout-0.1"]
    assert names("rotate") == names("rotate:10") == names(" rotate:10.0 ") == ["rotate-10"]
    assert names() == []


def test_duplicates_collapse():
    typed = ["crops:2", "flip", "crops:3", "rotate", "flip", "rotate:10"]
    assert names(*typed) == ["crop-1", "crop-2", "flip", "crop-3", "rotate-10"]


@pytest.mark.parametrize(
    "typed, near", [("flop", "'flip'"), ("crop-1", "'crops'"), ("", "Known: crops, flip"), ("rotation:3", "'rotate'")]
)
def test_an_unknown_view_names_the_nearest(typed, near):
    with pytest.raises(UnknownName, match=near):
        parse_views([typed])


@pytest.mark.parametrize("number", ["0", "-1", "46", "x", "", "nan", "inf", "1e1", "1_0", "0.00001", "１０", " 5"])
def test_degrees(number):
    with pytest.raises(ConfigError, match=r"rotate:.*expected degrees above 0 and up to 45.*For example rotate:10"):
        parse_views([f"rotate:{number}"])


@pytest.mark.parametrize("kind", ["crops", "synonyms"])
@pytest.mark.parametrize("number", [":0", ":-1", ":101", ":2.0", ":x", ":", "", ":9999999999999", ":²"])
def test_counts(kind, number):
    with pytest.raises(ConfigError, match=f"'{kind}{number}'.*expected a whole number from 1 to 100.*{kind}:2"):
        parse_views([kind + number])


@pytest.mark.parametrize("number", [":0", ":1", ":-0.1", ":x", ":", "", ":nan", ":1.5"])
def test_probabilities(number):
    with pytest.raises(ConfigError, match=r"word-dropout.*expected the probability.*For example word-dropout:0\.1"):
        parse_views([f"word-dropout{number}"])


def test_flip_takes_no_number():
    with pytest.raises(ConfigError, match="flip takes no number"):
        parse_views(["flip:1"])


def test_a_word_list_is_read_only_for_synonyms(tmp_path):
    missing = tmp_path / "missing.txt"
    assert names("flip", "word-dropout:0.1", word_list=missing) == ["flip", "word-dropout-0.1"]
    with pytest.raises(ConfigError, match=r"missing\.txt can't be read"):
        parse_views(["synonyms:1"], missing)


def test_the_word_list_is_part_of_the_settings(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("cat, feline\ndog, hound\n")
    own, shipped = parse_views(["synonyms:1"], words)[0], parse_views(["synonyms:1"])[0]
    assert own.name == shipped.name and own.settings() != shipped.settings()
    words.write_text("# the same words in another order\nhound, dog\nfeline,cat\n")
    assert parse_views(["synonyms:1"], words)[0].settings() == own.settings()
    assert own.apply("A dog", bytes(16)) == "A hound"
