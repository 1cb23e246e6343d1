"""Dealing rows into parts so that each label keeps its share in each part.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the Stratification of Multi-Label Data"), generalised
from rows to groups of rows that must not be parted, then moves of single groups until the sizes fit, and swaps
that bring rare labels where they should be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.errors import ConfigError

_CANDIDATES = 4096  # groups looked at for one move, a random part of those that could go
_SWAPS = (16, 1024)  # groups looked at on each side of one swap


def deal(
    targets: NDArray[np.bool_],
    sizes: Sequence[int],
    seed: int,
    *,
    groups: ArrayLike | None = None,
    keep: Sequence[int] = (),
) -> NDArray[np.intp]:
    """Each row's part, (rows,).

    Parts have exactly these sizes, or, where ``groups`` are in the way, sizes as near as moves of single groups bring
    them; none is empty. No group is parted.

    Args:
        targets: (rows, labels) bool.
        sizes: rows of each part, at least 1 each, all rows together.
        seed: 0 or above; the same seed deals the same.
        groups: (rows,) numbers, equal where rows must stay together; None: each row is on its own.
        keep: parts that should hold each label at least once, the most important first; the first gets a label's only
            row. Sizes come before this.

    Raises:
        ConfigError: a negative seed; fewer groups than parts.
        ValueError: groups that don't fit the targets.
    """
    if seed < 0:
        raise ConfigError(f"a seed should be 0 or above, not {seed}")
    rows = len(targets)
    group_of = np.arange(rows) if groups is None else np.asarray(groups)
    if group_of.shape != (rows,):
        raise ValueError(f"groups should be ({rows},), not {group_of.shape}")
    rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    shuffled = rng.permutation(rows)
    _, first, item = np.unique(group_of[shuffled], return_index=True, return_inverse=True)
    if len(first) < len(sizes):
        raise ConfigError(
            f"{rows} rows in {len(first)} groups can't be dealt into {len(sizes)} parts without parting a group",
            "Raise the similarity from which rows are grouped, or leave grouping out",
        )
    item = np.argsort(np.argsort(first))[item]  # groups in the shuffled order of their first rows
    size = np.bincount(item)
    large_first = np.argsort(-size, kind="stable")
    item, size = np.argsort(large_first)[item], size[large_first]
    counts = np.zeros((len(size), targets.shape[1]), dtype=np.int64)
    np.add.at(counts, item, targets[shuffled])

    part = _stratify(counts, size, np.array(sizes) / rows, rng)
    repair = _Repair(counts, size, part, np.array(sizes), keep)
    repair.bring_rare_labels()
    repair.fit_sizes()
    repair.swap_rare_labels()
    dealt = np.empty(rows, dtype=np.intp)
    dealt[shuffled] = part[item]
    return dealt


def _stratify(
    counts: NDArray[np.int64], size: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray[np.intp]:
    """Each group's part, (groups,), from each group's positives of each label and its rows: the rarest label first, to
    the part that lacks most of it."""
    room = shares * size.sum()
    wanted = np.outer(shares, counts.sum(axis=0))
    left = counts.sum(axis=0)
    part = np.full(len(counts), -1, dtype=np.intp)

    def place(group: int, needs: NDArray[np.float64]) -> None:
        to = np.flatnonzero(needs == needs.max())
        if len(to) > 1:
            to = to[room[to] == room[to].max()]
        chosen = int(to[0] if len(to) == 1 else to[rng.choice(len(to))])
        part[group] = chosen
        room[chosen] -= size[group]
        wanted[chosen] -= counts[group]
        left[:] -= counts[group]

    while left.any():
        rarest = np.flatnonzero(left == left[left > 0].min())
        label = int(rarest[0] if len(rarest) == 1 else rarest[rng.choice(len(rarest))])
        for group in np.flatnonzero((counts[:, label] > 0) & (part < 0)).tolist():
            place(group, wanted[:, label])
    for group in np.flatnonzero(part < 0).tolist():
        place(group, room)
    return part


class _Repair:
    """Moves groups between parts, in place, each time one that costs least.

    The cost is the growth of ``sum over parts and labels of (positives - wanted)**2 / positives of the label``.
    """

    def __init__(
        self,
        counts: NDArray[np.int64],
        size: NDArray[np.int64],
        part: NDArray[np.intp],
        sizes: NDArray[np.int64],
        keep: Sequence[int],
    ) -> None:
        self.counts, self.size, self.part, self.sizes, self.keep = counts, size, part, sizes, tuple(keep)
        self.has = counts > 0
        self.total = counts.sum(axis=0)
        self.scale = 2 / np.maximum(self.total, 1)
        members = [part == p for p in range(len(sizes))]
        self.filled = np.array([size[inside].sum() for inside in members])
        self.held = np.stack([self.has[inside].sum(axis=0) for inside in members])  # groups, not rows
        positives = np.stack([counts[inside].sum(axis=0) for inside in members])
        self.excess = positives - np.outer(sizes / sizes.sum(), self.total)

    def bring_rare_labels(self) -> None:
        """A group with each label into each part of ``keep``, where another part can spare one."""
        for label in np.argsort(self.total, kind="stable").tolist():
            having = np.flatnonzero(self.has[:, label])
            for rank, to in enumerate(self.keep):
                if self.held[to, label] or not len(having):
                    continue
                fits = having[self.size[having] <= self.sizes[to]]
                free = fits[~self._is_last(fits, label, self.keep[: rank + 1])]
                if not len(free) and rank == 0:
                    free = fits if len(fits) else having
                if len(free):
                    self._move(self._cheapest(free, to), to)

    def fit_sizes(self) -> None:
        """Move groups from parts with too many rows to parts with too few, as long as that helps; fill empty parts."""
        self._move_while_it_helps()
        for to in np.flatnonzero(self.filled == 0).tolist():
            groups = np.bincount(self.part, minlength=len(self.sizes))
            spare = np.flatnonzero(groups[self.part] > 1)
            smallest = spare[self.size[spare] == self.size[spare].min()]
            self._move(self._cheapest(smallest, to), to)
        self._move_while_it_helps()

    def swap_rare_labels(self) -> None:
        """Swap groups of one size, to bring a label into a part of ``keep`` that takes no other label's last group."""
        for label in np.argsort(self.total, kind="stable").tolist():
            for rank, to in enumerate(self.keep):
                if self.total[label] and not self.held[to, label]:
                    swap = self._best_swap(label, to, self.keep[: rank + 1])
                    if swap is not None:
                        there, back = swap
                        source = int(self.part[there])
                        self._move(there, to)
                        self._move(back, source)

    def _best_swap(self, label: int, to: int, before: Sequence[int]) -> tuple[int, int] | None:
        """A group with the label and one of part ``to`` that takes its place, or None; a part that is not ``before``
        may lose the label."""
        best, least = None, np.inf
        beside = np.flatnonzero(self.part == to)
        for there in np.flatnonzero(self.has[:, label])[: _SWAPS[0]].tolist():
            source = self.part[there]
            back = beside[self.size[beside] == self.size[there]][: _SWAPS[1]]
            lost = np.isin(to, self.keep) & ((self.held[to] == 1) & self.has[back] & ~self.has[there]).any(axis=1)
            if source in self.keep:
                gone = (self.held[source] == 1) & self.has[there] & ~self.has[back]
                gone[:, label] &= source in before
                lost |= gone.any(axis=1)
            back = back[~lost]
            change = self.counts[there] - self.counts[back]
            growth = (change * (change - self.excess[source] + self.excess[to])) @ self.scale
            if len(back) and growth.min() < least:
                best, least = (there, int(back[np.argmin(growth)])), growth.min()
        return best

    def _move_while_it_helps(self) -> None:
        while self._one_move():
            pass

    def _one_move(self) -> bool:
        surplus = self.filled - self.sizes
        for source in np.argsort(-surplus, kind="stable").tolist():
            for to in np.argsort(surplus, kind="stable").tolist():
                much, little = int(surplus[source]), -int(surplus[to])
                if much <= 0 or little <= 0:
                    break
                group = self._to_move(source, to, much, little)
                if group is not None:
                    self._move(group, to)
                    return True
        return False

    def _to_move(self, source: int, to: int, much: int, little: int) -> int | None:
        """The best group to go from ``source``, or None where every one makes the sizes worse."""
        inside = np.flatnonzero(self.part == source)
        fits = inside[self.size[inside] <= min(much, little)]
        if not len(fits):
            helps = inside[self.size[inside] < much + little]
            fits = helps[self.size[helps] == self.size[helps].min()] if len(helps) and len(inside) > 1 else helps[:0]
        if not len(fits):
            return None
        free = fits[~self._is_last(fits, None, self.keep)]
        return self._cheapest((free if len(free) else fits)[:_CANDIDATES], to)

    def _is_last(self, groups: NDArray[np.intp], label: int | None, for_label: Sequence[int]) -> NDArray[np.bool_]:
        """Whether a group is the last with one of its labels in its part, among the parts to keep; as for ``label``,
        only those in ``for_label`` count."""
        source = self.part[groups]
        last = self.has[groups] & (self.held[source] == 1)
        kept = np.isin(source, self.keep)
        if label is None:
            return np.asarray((last & kept[:, None]).any(axis=1))
        others = np.delete(last, label, axis=1) & kept[:, None]
        return np.asarray(others.any(axis=1) | (last[:, label] & np.isin(source, for_label)))

    def _cheapest(self, groups: NDArray[np.intp], to: int) -> int:
        counts = self.counts[groups]
        growth = counts * (counts - self.excess[self.part[groups]] + self.excess[to])
        return int(groups[np.argmin(growth @ self.scale / self.size[groups])])

    def _move(self, group: int, to: int) -> None:
        source = self.part[group]
        for part, sign in ((source, -1), (to, 1)):
            self.filled[part] += sign * self.size[group]
            self.held[part] += sign * self.has[group]
            self.excess[part] += sign * self.counts[group]
        self.part[group] = to
