"""``clipfuse encoders``: the list at several widths, and convert."""

import json

import pytest


@pytest.fixture
def width(monkeypatch):
    """Sets the columns of the terminal."""
    import io

    from rich.console import Console

    def set_to(columns):
        drawn = io.StringIO()
        console = Console(file=drawn, width=columns, highlight=False)
        monkeypatch.setattr("clipfuse_cli.console.output", lambda: console)
        return drawn

    return set_to


@pytest.mark.parametrize("columns", [80, 100, 150, 200])
def test_the_list_fits(columns, width, cli):
    from clipfuse.encoders import ALIASES

    drawn = width(columns)
    result = cli("encoders")
    assert result.exit_code == 0
    lines = drawn.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert {line.split()[0] for line in lines if line and line[0] != " "} >= set(ALIASES)
    assert ("licence" in lines[0]) == (columns >= 150) == ("wider window" not in result.stderr)
    if columns >= 100:
        (row,) = (line for line in lines if line.startswith("clip-vit-l-14"))
        assert "projected 768; pooled 1024" in row
        assert "224 px" in row
    assert any("clip:MODEL/TAG" in line for line in lines)


def test_the_list_as_json(cli):
    result = cli("encoders", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["encoders"]}
    assert rows["mini"]["here"] is True
    assert rows["clip-vit-b-32"]["outputs"]["image"] == {"projected": 512, "pooled": 768}
    assert rows["vgg16-bn"]["outputs"]["image"] == {"pooled": 4096}
    assert rows["minilm"]["licence"] == "apache-2.0"
    assert rows["e5-base"]["max_tokens"] == 512


def test_convert(cli, tmp_path):
    import torch
    from safetensors.torch import load_file

    torch.save({"state_dict": {"a": torch.ones(3)}, "epoch": 1}, tmp_path / "a.pt")
    torch.save({"a": torch.ones(3), "epoch": 1}, tmp_path / "b.pt")
    result = cli("encoders", "convert", "a.pt", "-o", "a.safetensors")
    assert (result.exit_code, result.stdout) == (0, "a.safetensors\n")
    assert result.stderr == "1 tensors, 3 numbers, 0.0 MB\n"
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [1, 1, 1]
    again = cli("encoders", "convert", "b.pt", "-o", "a.safetensors")
    assert again.exit_code == 2
    assert again.stderr.startswith("clipfuse: error: a.safetensors is there already. Name another file, or add --force")
    forced = cli("encoders", "convert", "b.pt", "-o", "a.safetensors", "--force")
    assert forced.exit_code == 0
    assert "left out, no weights: 1 entries (epoch)" in forced.stderr
    missing = cli("encoders", "convert", "c.pt", "-o", "c.safetensors")
    assert missing.exit_code == 1
    assert missing.stderr == "clipfuse: error: can't read c.pt: No such file or directory\n"
