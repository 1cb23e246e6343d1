"""Which shards of a plan one of several workers makes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The share of worker ``index`` of ``count``: every ``count``-th shard of a plan, from the ``index``-th on.

    Raises:
        ValueError: ``index`` is not one of 0 to ``count`` - 1.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"worker {self.index} of {self.count}: the first worker is 0, the last {self.count - 1}")

    def holds(self, number: int) -> bool:
        """Whether the plan's shard ``number`` (0 is its first) is in this share."""
        return number % self.count == self.index
