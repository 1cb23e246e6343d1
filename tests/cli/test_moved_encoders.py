"""--image-encoder of predict and evaluate, for runs of several encoders."""

from types import SimpleNamespace

import pytest

from clipfuse.errors import ConfigError
from clipfuse_cli.predict import streams_of_names

RUN = SimpleNamespace(
    name="a-run",
    streams={
        "image": SimpleNamespace(encoder_name="one"),
        "image-2": SimpleNamespace(encoder_name="two"),
        "text": SimpleNamespace(encoder_name="words"),
    },
)


def test_names_belong_to_streams_in_their_order():
    given = {"image": ["here", "there"], "text": None}
    assert streams_of_names(RUN, given) == {"image": "here", "image-2": "there"}
    assert streams_of_names(RUN, {"image": None, "text": ["elsewhere"]}) == {"text": "elsewhere"}


def test_all_of_them_or_none():
    with pytest.raises(
        ConfigError, match=r"1 --image-encoder, and a-run reads 2.*order: --image-encoder one --image-encoder two"
    ):
        streams_of_names(RUN, {"image": ["here"]})
    only_text = SimpleNamespace(name="a-run", streams={"text": RUN.streams["text"]})
    with pytest.raises(ConfigError, match=r"1 --image-encoder, and a-run reads 0.*Leave it out"):
        streams_of_names(only_text, {"image": ["here"]})
