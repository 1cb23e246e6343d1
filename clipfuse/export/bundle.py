"""Writing a bundle: a run's model with all that predicting needs, in a folder or an archive (see clipfuse.bundles)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from clipfuse import model_card
from clipfuse.bundles import ARCHIVE, FORMAT, MANIFEST, VERSION
from clipfuse.encoders import Portable
from clipfuse.errors import ConfigError, ExportError
from clipfuse.run import Run
from clipfuse.run_features import run_encoders
from clipfuse_cache.atomic import temporary_beside

_PLAIN = ("config.toml", "environment.json", "thresholds.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that an archive can name: the same content gives the same bytes


@dataclass(frozen=True)
class BundleExport:
    """What was written: where, how many files and bytes, and the encoders that are in it, stream -> name."""

    path: Path
    files: int
    bytes: int
    encoders: Mapping[str, str]


def export_bundle(
    run: Run, out: Path, *, with_encoder_weights: bool = False, encoders: Mapping[str, str] | None = None
) -> BundleExport:
    """Write a bundle, the same bytes for the same run.

    Predictions of single rows, their ids and the training history stay behind. The model card comes along as it stands
    in the run.

    Args:
        run: a trained run, or a bundle.
        out: a folder that is not there yet; or a file that ends in .zip, which replaces what is there.
        with_encoder_weights: the encoders' weights and tokenizers, too.
        encoders: stream -> encoder name, where its files are no longer where they were.

    Raises:
        ConfigError: ``out`` is there already.
        ExportError: the run keeps no model, or the bundle can't be written.
        RunError: the run is damaged.
        DataError, FingerprintMismatch, WeightsMissing, EncoderError: with weights, as ``predict``, and where an
            encoder's files are not enough without a network.
    """
    is_archive = out.suffix == ARCHIVE
    if out.exists() and not (is_archive and out.is_file()):
        raise ConfigError(f"{out} is there already", "Name another place with --out, or remove it")
    run.predictor()  # that it can be loaded, and has one
    content = dict(_run_files(run))
    kept = _encoder_files(run, encoders or {}, content) if with_encoder_weights else {}
    listed = {name: _listed(content[name]) for name in sorted(content)}
    about = {"format": FORMAT, "version": VERSION, "files": listed, "encoders": kept}
    content[MANIFEST] = _json(about)
    try:
        with temporary_beside(out) as draft:
            try:
                (_write_archive if is_archive else _write_folder)(draft, content)
                draft.replace(out)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"can't write {out}: {error.strerror or error}") from error
    total = sum(int(one["bytes"]) for one in listed.values())
    return BundleExport(out, len(content), total, {stream: one["name"] for stream, one in kept.items()})


def _run_files(run: Run) -> Iterator[tuple[str, bytes | Path]]:
    """What a bundle takes of a run; metrics.json names no place on this machine, and no file that stays behind."""
    names = [name for name in run.metrics["files"] if name in _PLAIN or name.startswith("model/")]
    for name in names:
        yield name, run.read(name)
    cache = str(run.metrics.get("cache", ""))
    metrics = {**run.metrics, "cache": Path(cache).name, "files": {name: run.metrics["files"][name] for name in names}}
    yield "metrics.json", _json(metrics)
    card = run.path / model_card.NAME
    yield model_card.NAME, card.read_bytes() if card.is_file() else model_card.model_card(run).encode()


def _encoder_files(run: Run, names: Mapping[str, str], content: dict[str, bytes | Path]) -> dict[str, dict[str, str]]:
    """Puts encoders' files into ``content``: stream -> name and folder of its encoder, each once."""
    folders: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for storage, factories in run_encoders(run, names).items():
        for factory in factories:
            assert isinstance(factory, Portable)
            portable = factory.portable()
            digest = hashlib.sha256(portable.name.encode())
            for name, source in sorted(portable.files.items()):
                digest.update(f"{name}:{_listed(source)['sha256']}\n".encode())
            folder = folders.setdefault(digest.hexdigest(), f"encoders/{len(folders) + 1}")
            content |= {f"{folder}/{name}": source for name, source in portable.files.items()}
            prints = {spec.fingerprint(output, storage) for spec in factory.specs for output in spec.outputs}
            for stream, table in run.streams.items():
                if table.fingerprint in prints:
                    found[stream] = {"name": portable.name, "folder": folder}
    return {stream: found[stream] for stream in run.streams if stream in found}


def _write_folder(draft: Path, content: Mapping[str, bytes | Path]) -> None:
    for name in content:
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
    for name, source in content.items():
        with (draft / name).open("xb") as file:
            _copy(source, file)


def _write_archive(draft: Path, content: Mapping[str, bytes | Path]) -> None:
    with ZipFile(draft, "x", ZIP_STORED) as packed:
        for name in sorted(content):
            info = ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            source = content[name]
            info.file_size = source.stat().st_size if isinstance(source, Path) else len(source)
            with packed.open(info, "w", force_zip64=info.file_size > 1 << 30) as file:
                _copy(source, file)


def _copy(source: bytes | Path, file: IO[bytes]) -> None:
    if isinstance(source, bytes):
        file.write(source)
        return
    with source.open("rb") as original:
        shutil.copyfileobj(original, file, 1 << 20)


def _listed(source: bytes | Path) -> dict[str, Any]:
    if isinstance(source, bytes):
        return {"bytes": len(source), "sha256": hashlib.sha256(source).hexdigest()}
    with source.open("rb") as file:
        return {"bytes": source.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
