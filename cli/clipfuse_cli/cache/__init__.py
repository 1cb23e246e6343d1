"""``clipfuse cache``: look into a feature cache, check it, take from it and put into it. One file a command."""

from __future__ import annotations

import typer

from clipfuse_cli.cache import drop, export, import_, info, merge, verify

app = typer.Typer(no_args_is_help=True, help="Look into a feature cache, check it, take from it, put into it.")
app.command("info")(info.info)
app.command("verify")(verify.verify)
app.command("merge")(merge.merge)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.command("drop")(drop.drop)


@app.callback()
def _root() -> None: ...
