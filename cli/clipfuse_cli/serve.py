"""``clipfuse serve``: a run behind HTTP, with a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o

_LIMITS = "Limits"


def serve(
    run: Annotated[Path | None, typer.Argument(help="A run's name or directory; the newest if left out.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="CLIPFUSE_TOKEN", help="What requests have to carry; made up beyond 127.0.0.1."),
    ] = None,
    image_encoder: o.MovedEncoder = None,
    text_encoder: o.MovedEncoder = None,
    word_list: o.WordList = None,
    device: o.Device = None,
    threads: o.Threads = None,
    runs: o.Runs = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="MB of a request.", rich_help_panel=_LIMITS)] = 16,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Of a picture.", rich_help_panel=_LIMITS)] = 40,
    max_caption: Annotated[int, typer.Option(min=1, help="Characters.", rich_help_panel=_LIMITS)] = 5_000,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows of a request.", rich_help_panel=_LIMITS)] = 64,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests under way; more are answered 503.", rich_help_panel=_LIMITS)
    ] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to answer in.", rich_help_panel=_LIMITS)] = 30,
    batch_rows: Annotated[
        int, typer.Option(min=1, help="Rows that are predicted together.", rich_help_panel=_LIMITS)
    ] = 32,
) -> None:
    """Answer POST /predict for a run, and show a page to try it on.

    Example: clipfuse serve --port 8000
    """
    import secrets
    import signal

    from clipfuse.errors import ConfigError
    from clipfuse_cli.console import note, warn
    from clipfuse_cli.predict import streams_of_names

    try:
        from clipfuse.serve.app import create_app
        from clipfuse.serve.guard import is_loopback
        from clipfuse.serve.server import listen, make_server
    except ModuleNotFoundError as error:
        raise ConfigError(f"clipfuse serve needs {error.name}", "Type: pip install 'clipfuse[serve]'") from error
    from clipfuse.loaded_run import load_run
    from clipfuse.serve.limits import Limits

    if token is not None and (not token.isascii() or not token.isprintable() or " " in token or len(token) < 8):
        raise ConfigError("the token should be 8 or more ASCII characters without a space", "Leave out --token for one")
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    limits = Limits(
        body_bytes=int(max_mb * 1e6),
        pixels=int(max_megapixels * 1e6),
        caption_characters=max_caption,
        rows=max_rows,
        waiting=max_waiting,
        answer_seconds=timeout,
        batch_rows=batch_rows,
    )
    project = o.project()
    opened = o.open_run(run, runs or project.runs)
    with listen(host, port) as listening:  # before the encoders: it is quick to say that it can't
        loaded = load_run(
            opened.path,
            device=device or project.device,
            encoders=streams_of_names(opened, {"image": image_encoder, "text": text_encoder}),
            word_list=word_list or project.extract.word_list,
            threads=threads,
            max_pixels=limits.pixels,
        )
        place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"

        def ready() -> None:
            warn(f"{opened.name} at {place}{f'#token={token}' if token is not None else ''} (Ctrl-C ends it)")
            if token is not None:
                warn(f"programs send: Authorization: Bearer {token}")

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server's ordinary end, too
        try:
            app = create_app(loaded, limits=limits, host=host, token=token)
            make_server(app, on_ready=ready).run(sockets=[listening])
        except KeyboardInterrupt:
            note("stopped")
