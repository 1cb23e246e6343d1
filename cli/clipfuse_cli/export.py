"""``clipfuse export``: a run for other programs and other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o

FORMS = ("onnx", "bundle")


def export(
    run: Annotated[Path | None, typer.Argument(help="A run's name or directory; the newest if left out.")] = None,
    to: Annotated[
        str, typer.Option(help="onnx: a file for onnxruntime; bundle: a folder or .zip for clipfuse predict.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Where to write: RUN.onnx, RUN-bundle or FILE.zip.", show_default=False),
    ] = None,
    with_encoder: Annotated[
        bool, typer.Option("--with-encoder", help="Into the ONNX file, too: pixels and token ids to probabilities.")
    ] = False,
    with_encoder_weights: Annotated[
        bool, typer.Option("--with-encoder-weights", help="Into the bundle, too: it predicts without a network.")
    ] = False,
    image_encoder: o.MovedEncoder = None,
    text_encoder: o.MovedEncoder = None,
    word_list: o.WordList = None,
    runs: o.Runs = None,
) -> None:
    """Write a run as an ONNX file, or as a bundle that holds all that predicting needs.

    An ONNX file is compared with torch before it is kept. What it reads and gives is in the .json file beside it.

    Example: clipfuse export --to bundle --with-encoder-weights -o photos.zip
    """
    from clipfuse.errors import ConfigError
    from clipfuse_cli.console import note
    from clipfuse_cli.predict import streams_of_names

    if to not in FORMS:
        raise ConfigError(f"--to {to}: there is no such form", f"Choose one of {', '.join(FORMS)}")
    if with_encoder and to != "onnx":
        raise ConfigError("--with-encoder is of --to onnx", "Write --with-encoder-weights")
    if with_encoder_weights and to != "bundle":
        raise ConfigError("--with-encoder-weights is of --to bundle", "Write --with-encoder")
    if (image_encoder or text_encoder) and not (with_encoder or with_encoder_weights):
        raise ConfigError("no encoder is written, so that naming one does nothing", f"Add {_flag(to)}")
    project = o.project()
    loaded = o.open_run(run, runs or project.runs)
    names = streams_of_names(loaded, {"image": image_encoder, "text": text_encoder})
    if to == "bundle":
        from clipfuse.export import export_bundle

        target = out or Path(f"{loaded.name}-bundle")
        bundle = export_bundle(loaded, target, with_encoder_weights=with_encoder_weights, encoders=names)
        held = f"with {', '.join(bundle.encoders)} encoders" if bundle.encoders else "without the encoders' weights"
        note(f"{bundle.path}: {bundle.files} files, {bundle.bytes / 1e6:,.1f} MB, {held}")
        note(f"next: clipfuse predict new.csv --run {bundle.path} -o labels.csv")
        return
    from clipfuse.export import export_onnx

    words = word_list or project.extract.word_list
    target = out or Path(f"{loaded.name}.onnx")
    written = export_onnx(loaded, target, with_encoder=with_encoder, encoders=names, word_list=words)
    for path in written.files:
        note(f"wrote {path}")
    shapes = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in written.inputs.items())
    note(f"{written.bytes / 1e6:,.1f} MB; reads {shapes}; gives probabilities (batch, {len(loaded.labels)})")
    note(f"compared with torch: at most {written.worst:.0e} apart")
    if written.precisions:
        made_in = " and ".join(written.precisions)
        note(f"its encoders compute in float32; the run was trained on features of {made_in}, which differ a little")


def _flag(form: str) -> str:
    return "--with-encoder" if form == "onnx" else "--with-encoder-weights"
