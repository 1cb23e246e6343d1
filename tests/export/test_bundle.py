"""Bundles: written, opened, predicting, and refused where they are not what was written."""

import csv
import gc
import hashlib
import json
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from clipfuse.bundles import MANIFEST
from clipfuse.data import load_dataset
from clipfuse.errors import ConfigError, RunError
from clipfuse.export import export_bundle
from clipfuse.extract import ExtractOptions
from clipfuse.predict import like_training_table, predict
from clipfuse.run import open_run


@pytest.fixture(scope="module")
def bundle(scenes, tmp_path_factory):
    """A folder with the encoders' weights, which no test changes."""
    return export_bundle(
        scenes.runs["sum"], tmp_path_factory.mktemp("bundles") / "photos", with_encoder_weights=True
    ).path


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.fixture
def archive(scenes, tmp_path):
    return export_bundle(scenes.runs["image"], tmp_path / "photos.zip").path


def few_rows(scenes, run, folder):
    with scenes.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[30:36]
    with (folder / "few.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return load_dataset(like_training_table(run, folder / "few.csv", scenes.images, {}), run.labels)


def said(scenes, run, folder):
    return predict(run, few_rows(scenes, run, folder), options=ExtractOptions()).probabilities


def rezipped(archive, change, **settings):
    """The archive again, after ``change(name -> content)``."""
    with ZipFile(archive) as packed:
        content = {info.filename: packed.read(info) for info in packed.infolist()}
    content = change(content) or content
    with ZipFile(archive, "w", **settings) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
    return archive


def relisted(content, **files):
    """The content with more in its manifest."""
    manifest = json.loads(content[MANIFEST])
    manifest["files"] |= {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    return {**content, **files, MANIFEST: json.dumps(manifest).encode()}


def test_it_holds_the_model_and_nothing_of_single_rows(scenes, bundle):
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    run = scenes.runs["sum"]
    assert names == {
        "README.md",
        "bundle.json",
        "config.toml",
        "encoders/1/open_clip_config.json",
        "encoders/1/open_clip_model.safetensors",
        "encoders/1/tokenizer.json",
        "encoders/1/tokenizer_config.json",
        "environment.json",
        "metrics.json",
        "model/model.json",
        "model/model.safetensors",
        "thresholds.json",
    }
    assert (bundle / "README.md").read_bytes() == (run.path / "README.md").read_bytes()
    assert str(run.path.parent.parent) not in (bundle / "metrics.json").read_text()
    opened = open_run(bundle)
    assert opened.labels == run.labels and opened.metrics["scores"] == run.metrics["scores"]
    assert np.array_equal(opened.thresholds(), run.thresholds())
    with pytest.raises(RunError, match=r"is a bundle, which has no predictions of rows"):
        opened.seen()


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_it_predicts_with_its_own_encoders(scenes, bundle, tmp_path, kind, monkeypatch):
    run = scenes.runs["sum"]
    expected = said(scenes, run, tmp_path)
    path = bundle
    if kind == "archive":
        path = export_bundle(run, tmp_path / "photos.zip", with_encoder_weights=True).path
    monkeypatch.setattr("clipfuse.encoders.names.ALIASES", {})  # the built-in encoder is not to be found
    monkeypatch.setattr("clipfuse.encoders.ALIASES", {})
    opened = open_run(path)
    assert all(str(opened.path / "encoders" / "1") in name for name in opened.encoders.values())
    np.testing.assert_allclose(said(scenes, opened, tmp_path), expected, atol=1e-6)


def test_without_weights_encoders_are_found_as_before(scenes, tmp_path):
    run = scenes.runs["knn"]  # kept by skops
    opened = open_run(export_bundle(run, tmp_path / "photos").path)
    assert not opened.encoders
    np.testing.assert_allclose(said(scenes, opened, tmp_path), said(scenes, run, tmp_path), atol=1e-6)


def test_the_same_run_gives_the_same_bytes_also_from_a_bundle(scenes, archive, tmp_path):
    again = export_bundle(open_run(archive), tmp_path / "again.zip").path
    assert again.read_bytes() == archive.read_bytes()


def test_what_is_there_already_stays(scenes, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match=r"there is there already"):
        export_bundle(scenes.runs["image"], tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())


def test_an_unpacked_archive_goes_with_its_run(archive):
    run = open_run(archive)
    folder = run.path
    assert run.name == "photos" and folder.exists()
    del run
    gc.collect()
    assert not folder.exists() and not folder.parent.exists()


@pytest.mark.parametrize("name", ["model/model.safetensors", "encoders/1/tokenizer.json", "README.md", "metrics.json"])
def test_a_changed_or_missing_file_is_refused(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(RunError, match=rf"{name} is not what was written"):
        open_run(copied)
    (copied / name).write_bytes(data + b" ")
    with pytest.raises(RunError, match=rf"{name} is not what was written"):
        open_run(copied)
    (copied / name).unlink()
    with pytest.raises(RunError, match=rf"lacks {name}"):
        open_run(copied)


@pytest.mark.parametrize("name", ["encoders/1/added_tokens.json", "model/other.skops", "encoders/2/config.json"])
def test_a_file_too_many_is_refused(copied, name):
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_text("{}")
    with pytest.raises(RunError, match=rf"{name} does not belong there"):
        open_run(copied)


def test_a_link_out_of_it_is_refused(copied, bundle):
    (copied / "README.md").unlink()
    (copied / "README.md").symlink_to(bundle / "README.md")
    with pytest.raises(RunError, match=r"lacks README.md"):
        open_run(copied)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a//b", "a\\b", "C:x", "./x"])
def test_paths_out_of_it_are_refused(archive, path, tmp_path):
    rezipped(archive, lambda content: relisted(content, **{path: b"x"}))
    with pytest.raises(RunError, match=r"bundle.json is damaged .*is not allowed"):
        open_run(archive)
    assert not (tmp_path.parent / "x").exists() and not Path("/x").exists()


def test_what_the_manifest_does_not_list_is_refused(archive):
    rezipped(archive, lambda content: {**content, "more.txt": b"x"})
    with pytest.raises(RunError, match=r"differ in 'more.txt'"):
        open_run(archive)
    rezipped(archive, lambda content: {name: data for name, data in content.items() if name[0] not in "mt"})
    with pytest.raises(RunError, match=r"differ in 'metrics.json'"):
        open_run(archive)


def test_compressed_members_are_refused(archive):
    rezipped(archive, lambda content: None, compression=ZIP_DEFLATED)
    with pytest.raises(RunError, match=r"is compressed, which bundles are not.*Unpack it"):
        open_run(archive)


def test_members_that_claim_more_than_the_archive_has_are_refused(archive):
    data = bytearray(archive.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the last member, in the list at the end
    data[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(RunError, match=r"larger than it is"):
        open_run(archive)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "can't be read as a bundle"),
        (None, "it has no bundle.json"),
    ],
)
def test_other_files_are_no_bundles(tmp_path, content, message):
    path = tmp_path / "x.zip"
    if content is None:
        with ZipFile(path, "w") as packed:
            packed.writestr("a", "b")
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        open_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "another version"),
        ({"files": 3}, "damaged"),
        ({"encoders": {"image": {"name": "hf:someone/else", "folder": "encoders/1"}}}, "no encoder of a bundle"),
        ({"encoders": {"image": {"name": "hf:{folder}", "folder": "../1"}}}, "is not allowed"),
    ],
)
def test_a_manifest_that_is_none_is_refused(copied, change, message):
    manifest = json.loads((copied / MANIFEST).read_text()) | change
    (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=message):
        open_run(copied)
