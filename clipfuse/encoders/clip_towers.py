"""open_clip's models taken apart: the last layer, the pooled features, the projection, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from open_clip.transformer import text_global_pool

from clipfuse.encoders.groups import pool_places, pool_runs
from clipfuse.encoders.spec import EncoderSpec, tokens_of

Project = Callable[[torch.Tensor], torch.Tensor]
Tower = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Pixels or ids to (what goes into the projection, the last layer)."""


def image_compute(model: Any, spec: EncoderSpec) -> Callable[[torch.Tensor], Mapping[str, torch.Tensor]]:
    """Pixels to the spec's outputs; "projected" is what ``model.encode_image`` gives. Takes the model apart."""
    tower, project = _image_tower(model.visual)
    trunk = getattr(model.visual, "trunk", model.visual)

    def compute(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled, states = tower(pixels)
        return _outputs(spec, pooled, project, lambda groups: pool_places(trunk, states, groups))

    return compute


def text_compute(model: Any, spec: EncoderSpec) -> Callable[[torch.Tensor, torch.Tensor], Mapping[str, torch.Tensor]]:
    """Ids to the spec's outputs; "projected" is what ``model.encode_text`` gives. Takes the model apart."""
    tower, project = _text_tower(model)

    def compute(ids: torch.Tensor, own: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled, states = tower(ids)
        # a tower may keep its summary token for itself
        return _outputs(spec, pooled, project, lambda groups: pool_runs(states, own[:, -states.shape[1] :], groups))

    return compute


def _outputs(
    spec: EncoderSpec, pooled: torch.Tensor, project: Project, tokens: Callable[[int], torch.Tensor]
) -> dict[str, torch.Tensor]:
    known: dict[str, Callable[[], torch.Tensor]] = {"pooled": lambda: pooled, "projected": lambda: project(pooled)}
    return {output: tokens(groups) if (groups := tokens_of(output)) else known[output]() for output in spec.outputs}


def _image_tower(visual: Any) -> tuple[Tower, Project]:
    if hasattr(visual, "trunk"):  # a timm model
        trunk, head = visual.trunk, visual.head
        if not len(head):  # the classifier serves as the projection
            return _staged(trunk, lambda x: trunk.forward_head(x, pre_logits=True)), trunk.get_classifier()
        if hasattr(head, "pool"):  # attention over the trunk's map comes before the projection
            return _staged(trunk, lambda x: head[:1](trunk.forward_head(x))), head[1:]
        return _staged(trunk, trunk.forward_head), head
    if hasattr(visual, "attnpool"):  # a ResNet, which projects inside its pooling

        def resnet(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            places = visual.stem(pixels)
            for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                places = layer(places)
            return visual.attnpool(places), places

        return resnet, lambda x: x
    projection, visual.proj, visual.output_tokens = visual.proj, None, True
    return visual, _product(projection)


def _staged(trunk: Any, pool: Callable[[torch.Tensor], torch.Tensor]) -> Tower:
    def tower(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = trunk.forward_features(pixels)
        return pool(states), states

    return tower


def _text_tower(model: Any) -> tuple[Tower, Project]:
    if not hasattr(model, "text"):  # the first CLIP keeps the parts of its text tower in the model itself

        def tower(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            states = model.token_embedding(ids) + model.positional_embedding
            states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask))
            return text_global_pool(states, ids, model.text_pool_type, eos_token_id=model.text_eos_id), states

        return tower, _product(model.text_projection)
    text = model.text
    text.output_tokens = True
    if hasattr(text, "proj"):  # a model of transformers
        projection, text.proj = text.proj, torch.nn.Identity()
        return text, projection
    projection, text.text_projection = text.text_projection, None
    return text, _product(projection)


def _product(projection: Any) -> Project:
    if projection is None:
        return lambda x: x
    return projection if isinstance(projection, torch.nn.Module) else lambda x: x @ projection
