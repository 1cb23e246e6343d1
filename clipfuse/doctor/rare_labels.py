"""Labels that can't be learned or scored: on too few rows, or on nearly all."""

from __future__ import annotations

from clipfuse.data.split import ROLES
from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject

FEWEST = 10
"""Training rows on each side that a label should have."""


def rare_labels(subject: Subject) -> Finding:
    """Labels with too few rows on one side, the rarest first."""
    about = Finding(
        "rare-labels",
        "Labels too rare to learn",
        f"Labels that fewer than {FEWEST} training rows have (or lack), or no validation or test row has. Gather more"
        " rows with them, or join or drop them; a score on a handful of rows is chance.",
        "labels",
    )
    samples = subject.samples
    if samples.labels is None:
        return about.without("the rows have no labels")
    roles = subject.roles()
    known = [role for role in ROLES if (roles == role).any()]
    lines: list[tuple[Value, ...]] = []
    for label, name in enumerate(samples.label_names):
        given = samples.labels[:, label]
        of_role = {role: int((given & (roles == role)).sum()) for role in known}
        trained = of_role.get("train", int(given.sum()))
        lacking = int((~given & (roles == "train")).sum()) if "train" in known else int((~given).sum())
        reasons = [f"{trained:,} training rows have it"] if trained < FEWEST else []
        reasons += [f"only {lacking:,} training rows lack it"] if lacking < FEWEST else []
        reasons += [f"no {role} row has it" for role in known if role != "train" and not of_role[role]]
        if reasons:
            lines.append((name, int(given.sum()), *(of_role[role] for role in known), "; ".join(reasons)))
    lines.sort(key=lambda line: int(line[1] or 0))
    return about.found(("label", "rows", *known, "why"), lines, len(samples.label_names))
