"""How much one request, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is beyond is refused with the limit in the answer.

    Attributes:
        body_bytes: of one request.
        pixels: of one picture.
        caption_characters: of one caption.
        rows: of one request.
        waiting: requests that are under way at once, their bodies in memory; more are answered 503.
        body_seconds: for a request's body to arrive.
        answer_seconds: for a request to be answered once it has arrived.
        batch_rows: rows that are predicted together; a request that has more is predicted alone.
        batch_seconds: how long the first of them waits for others.
    """

    body_bytes: int = 16_000_000
    pixels: int = 40_000_000
    caption_characters: int = 5_000
    rows: int = 64
    waiting: int = 64
    body_seconds: float = 20.0
    answer_seconds: float = 30.0
    batch_rows: int = 32
    batch_seconds: float = 0.002
