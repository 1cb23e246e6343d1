"""``clipfuse encoders``: what can encode."""

from __future__ import annotations

from clipfuse_cli import options as o


def encoders(json: o.Json = False) -> None:
    """List the encoders with a name of their own, and how to name any other."""
    from clipfuse.encoders.listing import FORMS, list_encoders

    rows = list_encoders()
    if json:
        import json as writer

        print(writer.dumps({"encoders": rows, "forms": FORMS}, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import output

    console = output()
    grid = Table(box=None, pad_edge=False)
    for name in ("encoder", "reads", "outputs", "MB", "about"):
        grid.add_column(name, justify="right" if name == "MB" else "left")
    for row in rows:
        grid.add_row(
            row["name"],
            " + ".join(row["reads"]),
            ", ".join(row["outputs"]),
            f"{row['bytes'] / 1e6:.1f}",
            Text(row["about"]),
        )
    console.print(grid)
    forms = Table(box=None, pad_edge=False, title="any other, by its library", title_justify="left")
    forms.add_column("form")
    forms.add_column("for example")
    for form, example in FORMS.items():
        forms.add_row(Text(form), Text(example))
    console.print(forms)
