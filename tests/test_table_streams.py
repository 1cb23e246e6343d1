"""Captions as bytes in a stream."""

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipfuse.table_streams import MOST_BYTES, TableStreams, caption_width, decode_captions


def read(captions, width=None, rows=None):
    return TableStreams(caption_bytes=width or caption_width(captions)).read(
        SimpleNamespace(captions=captions), "cpu", rows
    )


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40), min_size=1))
def test_captions_come_back(captions):
    assert decode_captions(read(captions).values["text"][:, 0].numpy().astype(np.float32)) == captions


def test_what_a_stream_holds():
    found = read(["ab", None, "é"], rows=[2, 1, 0])
    assert found.values["text"].dtype == torch.uint8
    assert found.values["text"].tolist() == [[[0xC3, 0xA9]], [[0, 0]], [[97, 98]]]
    assert found.present["text"].tolist() == [True, False, True]


def test_long_captions_are_cut_between_characters():
    assert decode_captions(read(["aé", "abc"], width=2).values["text"][:, 0].numpy()) == ["a", "ab"]
    assert caption_width(["x" * 10_000]) == MOST_BYTES
    assert caption_width([None]) == 1


def test_widths_and_json():
    own = TableStreams(("price", "age"), 7)
    assert own.dims == {"text": 7, "numbers": 2}
    assert TableStreams.from_dict(own.to_dict()) == own
    assert TableStreams.from_dict({"numbers": []}) == TableStreams()  # as runs were kept before there were captions
