"""What an open_clip model's towers give, from its configuration and the shapes in its weights' file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipfuse.encoders.request import Request
from clipfuse.encoders.spec import Shape

_IMAGE_PROJECTIONS = {
    "visual.proj": 0,
    "visual.head.proj.weight": 1,
    "visual.head.mlp.fc1.weight": 1,
    "visual.trunk.classifier.weight": 1,
    "visual.trunk.head.fc.weight": 1,
    "visual.trunk.head.weight": 1,
}
_TEXT_PROJECTIONS = {
    "text_projection": 0,
    "text_projection.weight": 1,
    "text.text_projection": 0,
    "text.text_projection.weight": 1,
    "text.proj.weight": 1,
    "text.proj.0.weight": 1,
}
"""A tower's last matrix in the weights' file -> which of its sides is the width before it."""
_IMAGE_LAYERS = {
    "visual.attnpool.q_proj.weight": 1,
    "visual.class_embedding": 0,
    "visual.trunk.attn_pool.latent": 2,
    "visual.head.pool.qkv.weight": 1,
    "visual.head.pool.q.weight": 1,
    "visual.trunk.bn2.weight": 0,  # EfficientNets widen their map, MobileNets from v3 on only what was pooled from it
    "visual.trunk.conv_head.weight": 1,
}
"""A tensor in the weights' file -> which of its sides is the width of the last layer, where that is not what goes into
the projection."""


def clip_shapes(
    model: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], request: Request
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The outputs of a model's image tower and of its text tower.

    "pooled" is missing where a tower has no projection, or (ResNets) projects inside its pooling.

    Args:
        model: open_clip's configuration of it.
        tensors: name -> shape of its weights.
        request: says whether tokens are wanted. Raises EncoderError where a tower can't give them.
    """
    vision, text = model["vision_cfg"], model["text_cfg"]
    projected = {"projected": Shape(1, model["embed_dim"])}
    image, caption = _side(tensors, _IMAGE_PROJECTIONS), _side(tensors, _TEXT_PROJECTIONS)
    places = None if vision.get("attentional_pool") else _side(tensors, _IMAGE_LAYERS) or image
    words = caption or model["embed_dim"] if text.get("hf_model_name") else text.get("width", 512)
    resnet = isinstance(vision.get("layers"), list)
    return (
        projected
        | ({"pooled": Shape(1, image)} if image and not resnet else {})
        | request.tokens_shape(places, "queries look at all of a picture, not at places in it"),
        projected | ({"pooled": Shape(1, caption)} if caption else {}) | request.tokens_shape(words),
    )


def _side(tensors: Mapping[str, tuple[int, ...]], sides: Mapping[str, int]) -> int | None:
    return next((tensors[name][side] for name, side in sides.items() if len(tensors.get(name, ())) > side), None)
