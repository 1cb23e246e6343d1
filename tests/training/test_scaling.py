"""Scalers are fitted on the rows that train, and on nothing else."""

import torch

from clipfuse.training.scaling import set_scalers, stream_moments


def test_only_the_given_rows_that_have_the_input_count(tools):
    rows, some = tools.rows(lacking=("image",)), torch.arange(10, 150)
    before = stream_moments(rows, some)
    values = rows.streams.values
    there = rows.present["image"][some]
    assert 20 < int(there.sum()) < 130
    torch.testing.assert_close(before["image"].mean, values["image"][some][there].double().mean((0, 1)))
    torch.testing.assert_close(before["text"].mean, values["text"][some].double().mean((0, 1)))
    for value in values.values():
        value[:10], value[150:] = 1e6, -1e6
    values["image"][~rows.present["image"]] = 1e6
    after = stream_moments(rows, some)
    for name in values:
        assert torch.equal(before[name].mean, after[name].mean)
        assert torch.equal(before[name].squares, after[name].squares)


def test_every_model_gets_those_of_its_streams(tools):
    rows = tools.rows()
    models = [tools.model(), tools.model(fusion="image")]
    set_scalers(models, stream_moments(rows, torch.arange(200)))
    for model in models:
        for name in model.streams:
            expected = rows.streams.values[name][:200, 0]
            torch.testing.assert_close(model.inputs.scaler(name).mean, expected.mean(0))
            torch.testing.assert_close(1 / model.inputs.scaler(name).scale, expected.std(0, correction=0))
    assert models[1].streams == ("image",)
