"""open_clip's tokenizers, and what they do not say: how long a caption is, and whether it was cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from clipfuse.encoders.caption import Tokens
from clipfuse.encoders.spec import EncoderSpec
from clipfuse.errors import EncoderError


def load_tokenizer(spec: EncoderSpec, folder: Path | None) -> Callable[[str], Tokens]:
    """The tokenizer of an open_clip model, in ``folder`` or, for None, the one that open_clip brings along.

    Not by ``open_clip.get_tokenizer``, which takes the default where it does not know a name.
    """
    text, context = spec.model["text_cfg"], int(spec.preprocessing["context"])
    settings = dict(text.get("tokenizer_kwargs") or {})
    if settings.get("reduction_mask"):
        raise EncoderError("its tokenizer drops words at random, which gives other features each time")
    if folder is None:
        return _simple(SimpleTokenizer(context_length=context, **settings), context)
    mode = text.get("tokenizer_mode")
    return _transformers(HFTokenizer(str(folder), context_length=context, tokenizer_mode=mode, **settings), context)


def _simple(tokenizer: Any, context: int) -> Callable[[str], Tokens]:
    def tokenize(caption: str) -> Tokens:
        ids: list[int] = tokenizer([caption], context_length=context)[0].tolist()
        own = context - ids[::-1].index(tokenizer.eot_token_id)  # zeros after the end, which is a word's id as well
        return Tokens(ids, own, own == context and len(tokenizer.encode(caption)) + 2 > context)

    return tokenize


def _transformers(tokenizer: Any, context: int) -> Callable[[str], Tokens]:
    # a tokenizer keeps its truncation as a state, so what is never cut needs one of its own: two threads may be in here
    whole = copy.deepcopy(tokenizer.tokenizer)
    special = tokenizer.tokenizer_mode != "clips"  # which puts in three of open_clip's own
    padding = tokenizer.tokenizer.pad_token_id
    if padding in {tokenizer.tokenizer.eos_token_id, tokenizer.tokenizer.sep_token_id}:
        padding = None  # a caption's own end looks the same

    def tokenize(caption: str) -> Tokens:
        ids: list[int] = tokenizer([caption], context_length=context)[0].tolist()
        if padding is not None and ids[-1] == padding:  # most captions; the rest is worth a second look
            return Tokens(ids, next(n for n in range(len(ids), 0, -1) if ids[n - 1] != padding), cut=False)
        found = whole(tokenizer.clean_fn(caption), add_special_tokens=special, verbose=False)["input_ids"]
        length = len(found) + (0 if special else 3)
        return Tokens(ids, min(length, context), length > context)

    return tokenize
