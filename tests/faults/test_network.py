"""No network: weights that are not here are an error at once, and nothing tries to connect where that is forbidden."""

from __future__ import annotations

import pytest

NAMES = {
    "hf:nobody/no-such-model": "model.safetensors of nobody/no-such-model",
    "timm:resnet10t.c3_in1k": "model.safetensors of timm/resnet10t.c3_in1k",
    "clip:ViT-B-32/laion2b_s34b_b79k": "open_clip_model.safetensors of laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
}
CLOSED = "http://127.0.0.1:9"


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "a hub that can't be reached"])
def test_missing_weights_are_said_at_once(nursery, figures, tmp_path, offline):
    environment = {"HF_HUB_OFFLINE": "1" if offline else "0", "HF_ENDPOINT": CLOSED, "HF_HUB_CACHE": str(tmp_path)}
    environment |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), "")
    found = nursery.run("find_encoders", list(NAMES), environment=environment).ended_well()
    for (name, file), (error, message, tried) in zip(NAMES.items(), found, strict=True):
        assert error == "WeightsMissing", (name, message)
        assert f"encoder {name} needs {file}, which is not in this machine's cache" in message
        assert ("HF_HUB_OFFLINE is set" if offline else "127.0.0.1 can't be reached") in message
        assert "--encoder " in message
        assert tried == ([] if offline else ["127.0.0.1"]), tried
    figures("j. no network", f"{len(NAMES)} names {'offline' if offline else 'with a closed port'}")
