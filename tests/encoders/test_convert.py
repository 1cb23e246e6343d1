"""Pickled weights become safetensors once; what could run code stays a pickle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clipfuse.encoders import find_encoder
from clipfuse.encoders.convert import convert_weights
from clipfuse.errors import ConfigError, EncoderError, WeightsMissing
from clipfuse.testing import example_captions, load_encoders

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def saved(folder, value):
    torch.save(value, folder / "weights.pt")
    return folder / "weights.pt"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda tensors: {"model": {"state_dict": tensors}},
        lambda tensors: {"epoch": torch.tensor(3), "state_dict": tensors},
        lambda tensors: {"loss": torch.ones(5), "model": {"step": torch.tensor(1), "state_dict": tensors}},
        lambda tensors: {f"module.{name}": value for name, value in tensors.items()},
        lambda tensors: {"state_dict": {f"module._orig_mod.{name}": value for name, value in tensors.items()}},
        lambda tensors: {name: torch.nn.Parameter(value) for name, value in tensors.items()},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(wrap, tmp_path):
    done = convert_weights(saved(tmp_path, wrap(TENSORS)), tmp_path / "new" / "weights.safetensors")
    found = load_file(tmp_path / "new" / "weights.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert (done.tensors, done.parameters, done.left_out) == (2, 8, ())
    assert done.bytes == (tmp_path / "new" / "weights.safetensors").stat().st_size


def test_shared_and_cut_out_tensors_and_what_is_none(tmp_path):
    whole = torch.arange(12.0)
    value = {"one": whole, "two": whole, "part": whole[2:5], "turned": whole.reshape(3, 4).T, "steps": 7}
    done = convert_weights(saved(tmp_path, value), tmp_path / "x.safetensors")
    found = load_file(tmp_path / "x.safetensors")
    assert done.left_out == ("steps",)
    assert {name: found[name].tolist() for name in found} == {
        name: tensor.tolist() for name, tensor in value.items() if name != "steps"
    }


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_counters_beside_prefixed_weights_are_left_out(prefix, tmp_path):
    weights = TENSORS | {"a.scale": torch.tensor(2.0)}
    value = {"n_averaged": torch.tensor(4)} | {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    done = convert_weights(saved(tmp_path, value), tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == weights.keys()
    assert done.left_out == ("n_averaged",)


def test_numbers_beside_weights_without_a_prefix_stay(tmp_path):
    value = TENSORS | {"module.scale": torch.tensor(2.0)}
    convert_weights(saved(tmp_path, value), tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == value.keys()


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_nothing_is_run(tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    saved(tmp_path, {"a": TENSORS["a.bias"], "trap": Trap()})
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Trap()))
    for file in ("weights.pt", "plain.bin"):
        with pytest.raises(EncoderError, match=r"holds more than tensors, which could run code.*state_dict"):
            convert_weights(tmp_path / file, tmp_path / "x.safetensors")
    assert not (tmp_path / "trapped").exists()
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_programs_are_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(EncoderError, match=r"TorchScript archive.*clip:ViT-B-32-quickgelu/openai"):
        convert_weights(tmp_path / "program.pt", tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't read"), (b"", "can't be read as weights"), (b"not weights", "weights"), (b"\x80\x02", "weights")],
)
def test_files_that_are_no_weights(content, said, tmp_path):
    file = tmp_path / "weights.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EncoderError, match=said):
        convert_weights(file, tmp_path / "x.safetensors")


@pytest.mark.parametrize("value", [{}, {"epoch": 1}, [1, 2], {"state_dict": {}}, 3])
def test_files_without_tensors(value, tmp_path):
    with pytest.raises(EncoderError, match="holds no tensors"):
        convert_weights(saved(tmp_path, value), tmp_path / "x.safetensors")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(3).to_sparse(), "a sparse tensor .torch.sparse_coo"),
        (lambda: torch.eye(3).to_sparse_csr(), "a sparse tensor .torch.sparse_csr"),
        (lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "a quantized tensor .torch.qint8"),
        (lambda: torch.ones(2, dtype=torch.complex128), "a tensor of torch.complex128"),
        (lambda: torch.ones(2, device="meta"), "a tensor without numbers"),
    ],
)
def test_tensors_that_safetensors_can_not_hold_are_named(make, kind, tmp_path):
    file = saved(tmp_path, {f"module.{name}": value for name, value in (TENSORS | {"odd": make()}).items()})
    with pytest.raises(EncoderError, match=rf"weights.pt: module.odd is {kind}.*Save the model's state_dict"):
        convert_weights(file, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_wrapper_that_holds_itself_ends(tmp_path):
    value = {}
    value["model"] = value
    with pytest.raises(EncoderError, match="holds no tensors"):
        convert_weights(saved(tmp_path, value), tmp_path / "x.safetensors")


def test_what_is_there_stays_unless_forced(tmp_path, monkeypatch):
    import safetensors.torch

    file, target = saved(tmp_path, TENSORS), tmp_path / "x.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(ConfigError, match=r"is there already.*--force"):
        convert_weights(file, target)
    with pytest.raises(ConfigError, match=r"no name for safetensors. Write .*x.safetensors"):
        convert_weights(file, tmp_path / "x.bin")

    def breaks(_tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(safetensors.torch, "save_file", breaks)
        with pytest.raises(EncoderError, match="No space left on device"):
            convert_weights(file, target, overwrite=True)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pt", "x.safetensors"]
    convert_weights(file, target, overwrite=True)
    assert load_file(target).keys() == TENSORS.keys()


def test_converted_weights_give_the_same_features(loaded, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(loaded("bert").name.removeprefix("hf:"), folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing) as caught:
        find_encoder(f"hf:{folder}")
    command = caught.value.fix.partition("clipfuse encoders convert ")[2].split(" -o ")
    convert_weights(*map(Path, command))  # what the message says to type
    (encoder,), (same,) = load_encoders(find_encoder(f"hf:{folder}")), loaded("bert").encoders.values()
    batch = encoder.collate([encoder.prepare(caption) for caption in example_captions()])
    for output, values in encoder.encode(batch).items():
        assert torch.equal(values, same.encode(batch)[output])
