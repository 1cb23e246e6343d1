"""Files of synonyms."""

from importlib import resources

import pytest

from clipfuse.errors import ConfigError
from clipfuse.views.word_list import read_word_list


def read(folder, content):
    path = folder / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_word_list(path)


def test_groups(tmp_path):
    words = read(
        tmp_path,
        "\ufeff# a comment\r\n\r\nSofa , couch  # another\r\n  fire   engine,fire truck, pumper\r\nnaïve, simple",
    )
    assert words.groups == (("couch", "sofa"), ("fire engine", "fire truck", "pumper"), ("naïve", "simple"))
    assert words.synonyms["pumper"] == ("fire engine", "fire truck")


@pytest.mark.parametrize(
    "content, message",
    [
        ("a1, b1\n# x\nc1, A1\n", r"words\.txt, line 3: 'a1' stands in line 1 already"),
        ("a1, b1, a1\n", r"words\.txt, line 1: 'a1' stands twice"),
        ("a1, b1\nlonely\n", r"words\.txt, line 2: 'lonely' is no group of two or more words.*couch, sofa"),
        ("a1, b1,\n", r"line 1: 'a1, b1,' is no group"),
        ("a1,, b1\n", "is no group"),
        ("# nothing\n\n", r"words\.txt holds no words"),
        (b"a1, \xff\n", r"words\.txt is not UTF-8 \(byte 4\)"),
    ],
)
def test_errors_name_file_and_line(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, content)


def test_a_folder_and_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing.txt"):
        with pytest.raises(ConfigError, match="can't be read"):
            read_word_list(path)


def test_the_digest_is_that_of_the_words(tmp_path):
    first = read(tmp_path, "cat, feline\ndog, hound\n").digest
    assert read(tmp_path, "# x\nHound, dog\n\ncat,feline\n").digest == first
    assert read(tmp_path, "cat, feline\ndog, mutt\n").digest != first
    assert read(tmp_path, "cat, feline, dog, hound\n").digest != first


def test_the_shipped_list_is_package_data():
    assert (resources.files("clipfuse.views") / "synonyms.txt").is_file()
    assert read_word_list().synonyms["couch"] == ("settee", "sofa")
