"""Opening a bundle: a run's model in a folder or an archive that may come from anywhere.

::

    NAME/                     or NAME.zip, whose members are stored as they are
        bundle.json           format, version; every other file with its bytes and SHA-256; stream -> its encoder
        README.md             the model card
        config.toml  environment.json  thresholds.json  metrics.json  model/     as in a run
        encoders/FOLDER/      on request: an encoder's weights, configuration and tokenizer in its library's layout

Nothing in it is run: weights are safetensors, estimators skops. A file that was changed, is missing, or is too many is
refused before anything of it is used. That tells damage and half a copy; who wrote a bundle it does not tell.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from clipfuse.errors import RunError

MANIFEST = "bundle.json"
ARCHIVE = ".zip"
"""Ends the name of a bundle that is one file."""
FORMAT, VERSION = "clipfuse-bundle", 1
GUARDED = ("model", "encoders")
"""Folders that libraries read of their own accord: nothing may be there that the manifest does not know."""
FOLDER = "{folder}"

_LARGEST_MANIFEST = 4_000_000
_BLOCK = 1 << 20
_AGAIN = "Fetch the bundle again, or make it again with clipfuse export"


@dataclass(frozen=True)
class Member:
    """A file of a bundle: its bytes and SHA-256 (hex)."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledEncoder:
    """Where a bundle keeps an encoder: its name with "{folder}" in it, and that folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class Manifest:
    """The content of bundle.json: file -> what it is; stream -> the encoder that is in the bundle."""

    files: Mapping[str, Member]
    encoders: Mapping[str, BundledEncoder]


@dataclass(frozen=True)
class Unpacked:
    """An archive's content in a temporary folder, which goes when this object does."""

    folder: Path


def open_bundle(folder: Path) -> dict[str, str]:
    """Check every file of a bundle: stream -> name of the encoder that it brings along.

    Raises:
        RunError: a file is missing, changed, or one too many; a path leads out of the bundle; another format.
    """
    manifest = read_manifest((folder / MANIFEST).open("rb"), folder)
    root = folder.resolve()
    for name, member in manifest.files.items():
        path = folder / name
        if not path.is_file() or not path.resolve().is_relative_to(root):
            raise RunError(f"{folder} lacks {name}, which its {MANIFEST} lists", _AGAIN)
        with path.open("rb") as file:
            _check(file, member, f"{folder / name}")
    for guarded in GUARDED:
        for path in sorted((folder / guarded).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if not path.is_dir() and name not in manifest.files:
                raise RunError(f"{folder / name} does not belong there: {MANIFEST} does not list it", "Delete it")
    return {stream: one.name.replace(FOLDER, str(folder / one.folder)) for stream, one in manifest.encoders.items()}


def unpack_bundle(archive: Path) -> Unpacked:
    """An archive's content in a temporary folder called like it.

    Members have to be stored as they are, so that what comes out is never more than the archive's own size.

    Raises:
        RunError: it is no bundle, or holds what a bundle does not.
    """
    try:
        with ZipFile(archive) as packed:
            members = {info.filename: info for info in packed.infolist()}
            if MANIFEST not in members:
                raise RunError(f"{archive} is no bundle: it has no {MANIFEST}", "Make one: clipfuse export --to bundle")
            _check_sizes(archive, list(packed.infolist()))
            manifest = read_manifest(packed.open(MANIFEST), archive)
            if set(members) != {MANIFEST, *manifest.files} or len(members) != len(packed.infolist()):
                strange = sorted(set(members) ^ {MANIFEST, *manifest.files}) or sorted(members)
                raise RunError(f"{archive}: its {MANIFEST} and its content differ in {strange[0]!r}", _AGAIN)
            kept = Path(tempfile.mkdtemp(prefix="clipfuse-"))
            unpacked = Unpacked(kept / archive.stem)
            weakref.finalize(unpacked, shutil.rmtree, kept, ignore_errors=True)
            for name in members:
                target = unpacked.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(name) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
            return unpacked
    except (BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:  # encrypted ones are a RuntimeError
        raise RunError(f"{archive} can't be read as a bundle ({error})", _AGAIN) from error
    except OSError as error:
        raise RunError(f"can't unpack {archive}: {error.strerror or error}") from error


def read_manifest(file: IO[bytes], where: Path) -> Manifest:
    """The content of a bundle.json. Raises RunError where it is not one; ``where`` is for the message."""
    with file:
        data = file.read(_LARGEST_MANIFEST + 1)
    try:
        if len(data) > _LARGEST_MANIFEST:
            raise ValueError("it is too long")
        value: Any = json.loads(data)
        if (value["format"], value["version"]) != (FORMAT, VERSION):
            raise RunError(f"{where} is a bundle of another version of clipfuse", "Make it again with this one")
        files = {_inside(name): Member(int(one["bytes"]), str(one["sha256"])) for name, one in value["files"].items()}
        encoders = {
            str(stream): BundledEncoder(str(one["name"]), _inside(one["folder"]))
            for stream, one in value["encoders"].items()
        }
        for one in encoders.values():
            if not one.folder.startswith("encoders/") or not one.name.endswith((f":{FOLDER}", f"@{FOLDER}")):
                raise ValueError(f"{one.name} in {one.folder} is no encoder of a bundle")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{where}: {MANIFEST} is damaged ({type(error).__name__}: {error})", _AGAIN) from error
    return Manifest(files, encoders)


def _inside(name: Any) -> str:
    """A file's name if it stays in the bundle, as it is. Raises ValueError."""
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and not any(part in ("..", ".") for part in parts)
    if not plain or not name or name.startswith("/") or any(c in name for c in "\\:\0") or name == MANIFEST:
        raise ValueError(f"the path {name!r} is not allowed")
    return str(name)


def _check_sizes(archive: Path, members: list[ZipInfo]) -> None:
    """That members are stored as they are and take no more than the archive."""
    for info in members:
        if info.compress_type != ZIP_STORED:
            raise RunError(
                f"{archive}: {info.filename} is compressed, which bundles are not", "Unpack it, and name the folder"
            )
    if sum(info.file_size for info in members) > archive.stat().st_size:
        raise RunError(f"{archive}: its members say that they are larger than it is", _AGAIN)


def _check(file: IO[bytes], member: Member, what: str) -> None:
    total, digest = 0, hashlib.sha256()
    while total <= member.bytes and (block := file.read(_BLOCK)):
        total += len(block)
        digest.update(block)
    if total != member.bytes or digest.hexdigest() != member.sha256:
        raise RunError(f"{what} is not what was written (its SHA-256 differs)", _AGAIN)
