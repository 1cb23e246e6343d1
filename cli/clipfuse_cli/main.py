"""The command line: one file a command, heavy imports inside the commands."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clipfuse_cli import (
    bench,
    cache,
    compare,
    demo,
    doctor,
    encoders,
    evaluate,
    export,
    extract,
    init,
    predict,
    recipes,
    report,
    serve,
    train_head,
    tune,
)
from clipfuse_cli.exit_codes import ExitCode
from clipfuse_cli.quiet import add_quiet_to, not_quiet_yet


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _in_a_line(error: Exception) -> str:
    """An error that is not clipfuse's own: the operating system's, a lack of memory, or a mistake of ours."""
    from clipfuse.memory import is_out_of_memory

    text = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"out of memory ({text}). Lower --batch-size; what is complete is kept"
    if isinstance(error, OSError):
        return f"{error.strerror or text}: {error.filename}" if error.filename else text
    return f"unexpected {type(error).__name__}: {text}. Set CLIPFUSE_TRACEBACK=1 to see where, and tell us"


class _Commands(TyperGroup):
    """Turns clipfuse's errors into one line on stderr and an exit code, and gives every command ``--quiet``."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        add_quiet_to(self)

    def main(self, *arguments: Any, **settings: Any) -> Any:
        with not_quiet_yet():
            return super().main(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except Exception as error:
            if "clipfuse_cache" not in sys.modules:  # nothing of ours was imported, so it is not ours: stay quick
                raise
            from clipfuse.errors import ClipfuseError, ConfigError

            if type(error).__module__.startswith(("click", "typer")) or os.environ.get("CLIPFUSE_TRACEBACK"):
                raise
            if isinstance(error, BrokenPipeError):  # the reader has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(ExitCode.ERROR) from error
            if not isinstance(error, ClipfuseError):
                print(f"clipfuse: error: {_in_a_line(error)}", file=sys.stderr)
                raise typer.Exit(ExitCode.ERROR) from error
            print(f"clipfuse: error: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.ERROR) from error
        except KeyboardInterrupt as error:
            print("clipfuse: interrupted; what is complete is kept", file=sys.stderr)
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except _Terminated as error:
            print("clipfuse: terminated; what is complete is kept", file=sys.stderr)
            raise typer.Exit(ExitCode.TERMINATED) from error


_EXAMPLES = """Examples:
  clipfuse demo                                 both stages on drawn pictures
  clipfuse init photos.csv --images photos/     look at the data
  clipfuse extract                              stage one: encode it, once
  clipfuse train-head --fusion sum              stage two: train on features
  clipfuse bench                                all runs side by side
  clipfuse predict new.csv --images new/ -o labels.csv"""

app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Several labels per picture and caption: frozen embeddings once, light heads in seconds, an honest table.",
    epilog="\n\n".join(
        [
            _EXAMPLES,
            "\n".join(["Exit codes:", *(f"  {code.value:3} {code.meaning}" for code in ExitCode)]),
            "Each command has --help with an example. There are no colours in a pipe, nor where NO_COLOR is set.",
        ]
    ),
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(version("clipfuse"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


_START, _FEATURES, _TRAINING = "Start", "Stage one: features", "Stage two: training"
_JUDGING, _USING = "Compare and judge", "Use a model"
app.command("init", rich_help_panel=_START)(init.init)
app.command("demo", rich_help_panel=_START)(demo.demo)
app.command("extract", rich_help_panel=_FEATURES)(extract.extract)
app.add_typer(encoders.app, name="encoders", rich_help_panel=_FEATURES)
app.add_typer(cache.app, name="cache", rich_help_panel=_FEATURES)
app.command("train-head", rich_help_panel=_TRAINING)(train_head.train_head)
app.command("tune", rich_help_panel=_TRAINING)(tune.tune)
app.command("recipes", rich_help_panel=_TRAINING)(recipes.recipes)
app.command("bench", rich_help_panel=_JUDGING)(bench.bench)
app.command("compare", rich_help_panel=_JUDGING)(compare.compare)
app.command("evaluate", rich_help_panel=_JUDGING)(evaluate.evaluate)
app.command("report", rich_help_panel=_JUDGING)(report.report)
app.command("doctor", rich_help_panel=_START)(doctor.doctor)
app.command("predict", rich_help_panel=_USING)(predict.predict)
app.command("serve", rich_help_panel=_USING)(serve.serve)
app.command("export", rich_help_panel=_USING)(export.export)


def main() -> None:
    """Entry point."""
    # threads that spin while they wait take the processor from those that decode, and from other programs:
    # on two busy cores training takes eight times as long. Has to be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
