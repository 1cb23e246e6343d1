"""What people call the inputs of a stream."""

from __future__ import annotations

_WORDS = {"image": "picture", "text": "caption", "numbers": "number"}


def input_word(stream: str) -> str:
    """ "picture" for "image" and "image-2", "caption" for "text", "number" for "numbers"."""
    return _WORDS[stream.partition("-")[0]]
