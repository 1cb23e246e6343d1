"""``clipfuse encoders``: what can encode, and pickled weights made safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clipfuse_cli import options as o

app = typer.Typer()
_WIDE = 150
"""Columns of a terminal that take where an encoder comes from as well."""


@app.callback(invoke_without_command=True)
def encoders(context: typer.Context, json: o.Json = False) -> None:
    """List the encoders with a name of their own, and how to name any other.

    Example: clipfuse encoders --json
    """
    if context.invoked_subcommand:
        return
    from clipfuse.encoders.listing import FORMS, list_encoders

    rows = list_encoders()
    if json:
        import json as writer

        print(writer.dumps({"encoders": rows, "forms": FORMS}, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import note, output

    console = output()
    _show(rows, wide=console.width >= _WIDE)
    forms = Table(box=None, pad_edge=False, title="any other, by its library", title_justify="left")
    forms.add_column("form")
    forms.add_column("for example")
    for form, example in FORMS.items():
        forms.add_row(Text(form), Text(example))
    console.print()
    console.print(forms)
    if console.width < _WIDE:
        note("source, licence and size: in a wider window, or with --json")


def _show(rows: Sequence[Mapping[str, Any]], *, wide: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import output

    grid = Table(box=None, pad_edge=False)
    grid.add_column("encoder", no_wrap=True)
    grid.add_column("reads", no_wrap=True)
    grid.add_column("outputs")
    grid.add_column("size", justify="right", no_wrap=True)
    grid.add_column("params", justify="right", no_wrap=True)
    if wide:
        grid.add_column("MB", justify="right", no_wrap=True)
        grid.add_column("source", overflow="fold")
        grid.add_column("licence")
    grid.add_column("here", no_wrap=True)
    for row in rows:
        for place, (modality, outputs) in enumerate(row["outputs"].items()):
            first = place == 0
            size = f"{row['pixels']} px" if modality == "image" else f"{row['max_tokens']} tokens"
            cells = [row["name"] if first else "", modality, _widths(outputs), size]
            cells.append(f"{row['parameters'] / 1e6:.1f} M" if first else "")
            if wide:
                licence = row["licence"] + (", pickled" if row["published_pickled"] else "")
                cells += [f"{row['bytes'] / 1e6:,.0f}", row["source"], licence] if first else [""] * 3
            cells.append(("yes" if row["here"] else "no") if first else "")
            grid.add_row(*map(Text, cells))
    output().print(grid)


def _widths(outputs: Mapping[str, int]) -> str:
    """ "mean, cls 768": names with their width, said once where several share it."""
    names: dict[int, list[str]] = {}
    for name, width in outputs.items():
        names.setdefault(width, []).append(name)
    return "; ".join(f"{', '.join(those)} {width}" for width, those in names.items())


@app.command("convert")
def convert(
    pickle: Annotated[Path, typer.Argument(help="A .bin, .pt, .pth or .ckpt file of weights.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Make safetensors of pickled weights, once. Nothing in the pickle is run.

    Example: clipfuse encoders convert pytorch_model.bin -o model.safetensors
    """
    from clipfuse.encoders.convert import convert_weights
    from clipfuse_cli.console import note

    done = convert_weights(pickle, out, overwrite=force)
    if done.left_out:
        shown = ", ".join(done.left_out[:3])
        note(f"left out, no weights: {len(done.left_out)} entries ({shown})")
    note(f"{done.tensors} tensors, {done.parameters:,} numbers, {done.bytes / 1e6:.1f} MB")
    print(out)
