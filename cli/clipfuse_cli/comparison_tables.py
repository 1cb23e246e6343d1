"""Two runs side by side on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipfuse.bench_columns import SCORES
from clipfuse_cli.console import output
from clipfuse_cli.tables import new_grid, plain

if TYPE_CHECKING:
    from clipfuse.bootstrap import Difference
    from clipfuse.compare import Comparison

_SURE = 0.05


def show_comparison(found: Comparison) -> None:
    """Scores, then labels, then what can be said of them in one sentence."""
    console = output()
    console.print(f"{found.first} (first) and {found.second} (second) on {found.rows:,} test rows", markup=False)
    scores = new_grid("score", "first", "second", "difference", "95% interval")
    for metric, values in found.scores.items():
        if values is None:
            scores.add_row(SCORES[metric], "–", "–", "–", "–")
        else:
            first, second, difference = values
            scores.add_row(SCORES[metric], f"{first:.3f}", f"{second:.3f}", *_cells(difference))
    console.print(scores)
    labels = new_grid("label", "rows", "F1", "F1", "difference", "95% interval", "only 1st", "only 2nd", "p")
    for label in found.labels:
        surely = label.adjusted < _SURE
        labels.add_row(
            plain(label.name),
            f"{label.support:,}",
            f"{label.first:.3f}",
            f"{label.second:.3f}",
            *_cells(label.difference),
            f"{label.only_first:,}",
            f"{label.only_second:,}",
            f"[bold]{label.adjusted:.3f}[/bold]" if surely else f"{label.adjusted:.3f}",
        )
    console.print(labels)
    console.print("only 1st, only 2nd: rows that one has right and the other wrong; p: McNemar's exact test, by Holm.")
    for name in found.one_of_several:
        print(f"{name} was trained with several seeds: this is the first one's model; bench shows the mean.")
    print(verdict(found))


def verdict(found: Comparison) -> str:
    """Whether these rows tell the runs apart by micro-F1, and on how many labels, as a sentence."""
    micro = found.scores["micro_f1"]
    assert micro is not None
    difference = micro[2]
    sure = [label for label in found.labels if label.adjusted < _SURE]
    better = sum(label.only_first > label.only_second for label in sure)
    labels = f"label by label the first is surely better on {better}, the second on {len(sure) - better}"
    if difference.low <= 0 <= difference.high:
        return f"These rows don't tell them apart by micro-F1; {labels} of {len(found.labels)}."
    which, other = (found.first, found.second) if difference.observed > 0 else (found.second, found.first)
    return f"{which} is better than {other} by micro-F1; {labels} of {len(found.labels)}."


def _cells(difference: Difference) -> tuple[str, str]:
    differ = difference.low > 0 or difference.high < 0
    text = f"{difference.observed:+.3f}"
    return f"[bold]{text}[/bold]" if differ else text, f"{difference.low:+.3f} to {difference.high:+.3f}"
