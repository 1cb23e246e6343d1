"""What a run may take at most, in storage and in time."""

from __future__ import annotations

from dataclasses import dataclass

from clipfuse.bench import BenchRow


@dataclass(frozen=True)
class Budget:
    """Limits; None is no limit.

    Attributes:
        max_mb: of head and encoders as stored, in MB of a million bytes.
        max_ms: from one row's picture and caption to its labels, encoders in memory, in milliseconds.
    """

    max_mb: float | None = None
    max_ms: float | None = None

    def __bool__(self) -> bool:
        return self.max_mb is not None or self.max_ms is not None

    def fits(self, row: BenchRow) -> bool | None:
        """Whether a run keeps within it; None where that is not known, as of what another machine took."""
        found = [self._fits_size(row), self._fits_time(row)]
        if False in found:
            return False
        return None if None in found else True

    def __str__(self) -> str:
        limits = {"MB in all": self.max_mb, "ms end to end": self.max_ms}
        return " and ".join(f"at most {limit:g} {unit}" for unit, limit in limits.items() if limit is not None)

    def _fits_size(self, row: BenchRow) -> bool | None:
        if self.max_mb is None:
            return True
        if row.total_bytes is not None:
            return row.total_bytes <= self.max_mb * 1e6
        known = max(row.head_bytes or 0, row.encoder_bytes or 0)  # a part of the whole
        return False if known > self.max_mb * 1e6 else None

    def _fits_time(self, row: BenchRow) -> bool | None:
        if self.max_ms is None:
            return True
        for part, timing in (("end to end", row.end_to_end), ("features", row.features)):
            if timing is None or timing.latency_ms is None or part in row.elsewhere:
                continue
            if part == "end to end":
                return timing.latency_ms.median <= self.max_ms
            if timing.latency_ms.median > self.max_ms:  # a part of the whole
                return False
        return None


NO_LIMITS = Budget()
