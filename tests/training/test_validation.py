import pytest
import torch
from torch import nn

from clipfuse.training import validation as module
from clipfuse.training.validation import predict_logits, predict_rows, validate


@pytest.mark.parametrize("head", ["mlp", "gmlp"])
def test_prediction_in_blocks_is_prediction(tools, head, monkeypatch):
    net, rows = tools.model(head), tools.rows(50)
    whole = predict_logits(net, rows.streams)
    monkeypatch.setattr(module, "EVALUATION_ROWS", 7)
    torch.testing.assert_close(predict_logits(net, rows.streams), whole)
    torch.testing.assert_close(predict_rows(net, rows, torch.arange(3, 40)), whole[3:40])
    state = tools.weights(net)
    net.train()
    predict_logits(net, rows.streams)
    assert tools.same(state, net.state_dict()) and not net.training


def test_few_rows_are_given_to_the_model_as_they_are(tools, monkeypatch):
    """What is done around a small head for one row takes longer than the head."""
    net, rows = tools.model(), tools.rows(50)
    one, told, seen = rows.streams.rows(slice(0, 1)), [], []
    net.eval()
    monkeypatch.setattr(net, "eval", lambda: told.append(net))
    net.register_forward_pre_hook(lambda _, given: seen.append(given))
    logits = predict_logits(net, one)
    ((values, present),) = seen
    assert values is one.values and present is one.present and not told
    torch.testing.assert_close(logits, predict_logits(net, rows.streams)[:1])


def test_some_rows_or_none(tools):
    net, rows = tools.model(), tools.rows(50)
    whole = predict_logits(net, rows.streams)
    torch.testing.assert_close(predict_rows(net, rows, torch.tensor([2, 30, 31])), whole[[2, 30, 31]])
    assert predict_rows(net, rows, torch.arange(0)).shape == (0, 3)
    assert not predict_rows(net, rows, torch.arange(4)).is_inference()  # combiners learn from it


def test_scores(tools):
    net, rows = tools.model(), tools.rows(50)
    some = torch.arange(20, 45)
    found, logits, targets = validate(net, rows, some), predict_rows(net, rows, some), rows.targets[20:45]
    assert found.loss == pytest.approx(nn.functional.binary_cross_entropy(logits.sigmoid(), targets).item(), rel=1e-5)
    chosen, truth = logits > 0, targets.bool()
    precision, recall = (chosen & truth).sum() / chosen.sum(), (chosen & truth).sum() / truth.sum()
    assert found.f1 == pytest.approx((2 * precision * recall / (precision + recall)).item())


def test_nothing_chosen_where_nothing_is_true_is_no_hit(tools):
    net, rows = tools.model("linear"), tools.rows(20)
    rows.targets.zero_()
    nn.init.zeros_(net.fusion.head.linear.weight)
    nn.init.constant_(net.fusion.head.linear.bias, -5.0)
    assert validate(net, rows, torch.arange(20)).f1 == 0.0
