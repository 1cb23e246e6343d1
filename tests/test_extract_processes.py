"""Several processes, one share each."""

import functools
import os
from pathlib import Path

import pytest

from clipfuse.errors import EncoderError
from clipfuse.extract_processes import run_shares, visible_gpu


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import share_tasks

    return share_tasks


def test_each_has_its_share_its_process_and_its_gpu(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    shown = []
    said = run_shares(
        functools.partial(tasks.note_share, tmp_path), 2, lambda *state: shown.append(state), on_gpus=True
    )
    assert said == ["share 0", "share 1"]
    found = [path.read_text().split() for path in sorted(tmp_path.iterdir())]
    assert [one[:2] for one in found] == [["2", "4"], ["2", "7"]]
    assert len({os.getpid(), *(int(one[2]) for one in found)}) == 3
    assert ("work", 3, 4) in shown


@pytest.mark.parametrize(("visible", "index", "expected"), [(None, 1, "1"), ("", 1, "1"), ("3, 5", 1, "5")])
def test_which_gpu_a_process_sees(visible, index, expected):
    assert visible_gpu(index, visible) == expected


def test_an_error_ends_the_others_and_is_told(tasks, tmp_path):
    with pytest.raises(EncoderError, match=r"no weights. Get some"):
        run_shares(functools.partial(tasks.fail_second, tmp_path), 2, print, on_gpus=False)
    if (tmp_path / "pid").exists():
        assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_a_process_that_dies_is_told(tasks, tmp_path):
    with pytest.raises(EncoderError, match=r"process 1 of 2 ended without a word \(exit code -9\)"):
        run_shares(functools.partial(tasks.killed, tmp_path), 2, print, on_gpus=False)


def test_a_mistake_of_ours_is_told(tasks, tmp_path):
    with pytest.raises(RuntimeError, match="ValueError: our own mistake"):
        run_shares(functools.partial(tasks.mistaken, tmp_path), 1, print, on_gpus=False)
