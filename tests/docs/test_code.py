"""All code of README.md and docs/ is run, each page from its top in a folder of its own, as a reader would."""

from __future__ import annotations

import shlex
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
import typer.main
from pages import LANGUAGES, PAGES, blocks_of
from typer.testing import CliRunner

from clipfuse.config import ProjectConfig
from clipfuse.encoders import BACKENDS
from clipfuse.fusions import FUSIONS
from clipfuse.heads import HEADS
from clipfuse_cli.main import app

COMMANDS = typer.main.get_command(app).commands
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]


@pytest.fixture
def reader(scenes, tmp_path, monkeypatch):
    """A folder with photos.csv, photos/, new.csv and new/; what a page registers is forgotten after it."""
    shutil.copy(scenes.table, tmp_path / "photos.csv")
    shutil.copytree(scenes.images, tmp_path / "photos")
    lines = scenes.table.read_text("utf-8").splitlines()
    (tmp_path / "new.csv").write_text("\n".join(lines[:12]) + "\n", encoding="utf-8")
    (tmp_path / "new").symlink_to("photos")
    for kinds in (HEADS, FUSIONS):
        monkeypatch.setattr(kinds._makers, "_entries", dict(kinds._makers._entries))
        monkeypatch.setattr(kinds, "_settings", dict(kinds._settings))
    monkeypatch.setattr(BACKENDS, "_entries", dict(BACKENDS._entries))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(line):
    """The words behind "clipfuse". RUN is the newest run, OTHER the one before."""
    names = [path.name for path in sorted(Path("runs").glob("*"), key=lambda path: path.stat().st_mtime)]
    known = dict(zip(("RUN", "OTHER"), reversed(names), strict=False))
    words = [known.get(word, word) for word in shlex.split(line, comments=True)]
    if words[0] == "python" and words[1].startswith("my_"):
        words = words[1:]  # a file that ends with clipfuse's main; what it registers the page has registered
    elif words[0] != "clipfuse":
        raise AssertionError(f"{line!r} is not a command of clipfuse: mark its block as not run")
    return words[1:]


def run_sh(code):
    for line in code.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = words_of(line)
        handler = signal.getsignal(signal.SIGTERM)
        result = CliRunner().invoke(app, words)
        signal.signal(signal.SIGTERM, handler)
        assert result.exit_code == 0, f"{line}\n{result.stderr}\n{result.exception!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_the_page_runs(page, reader, scenes):
    if page.name != "tutorial.md":  # elsewhere the same rows are encoded already, which is quicker
        shutil.copytree(scenes.cache.root, reader / "features" / "photos")
    names = {"__name__": "page"}
    for block in blocks_of(page):
        if block.reason is None and block.language == "sh":
            run_sh(block.code)
        elif block.reason is None and block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True), names)
        elif block.language == "toml":
            ProjectConfig.model_validate(tomllib.loads(block.code))


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.name)
def test_what_is_not_run_is_at_least_a_command(block):
    assert block.language == "sh"
    for line in block.code.splitlines():
        program, command, *options = shlex.split(line, comments=True)
        assert program == "clipfuse"
        if command in COMMANDS:
            known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
            assert {option for option in options if option.startswith("--")} <= known
    pytest.skip(f"not run: {block.reason}")


def test_every_block_says_its_language():
    readme = [block for block in BLOCKS if block.language == ""]
    assert [block.page.name for block in readme] == ["README.md"]  # make demo, make test
    assert {block.language for block in BLOCKS} - {""} <= set(LANGUAGES)
    assert {block.language for block in NOT_RUN} <= {"sh"}


def test_readme_does_both_stages_in_under_ten_lines():
    (code,) = [block.code for block in blocks_of(PAGES[0]) if block.language == "python"]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) < 10 and "extract_features" in code and "train(" in code
    before = PAGES[0].read_text("utf-8").split("```python")[0]
    assert before.count("\n") < 60  # on the second screen
