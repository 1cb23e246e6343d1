"""What one would write without clipfuse: a DataLoader with the library's own transform, and its model. For extract.py,
in a process of its own, so that nothing of clipfuse's settings is there."""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import open_data

ENDS = ("local-dir:",)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("--data", Path), ("--images", Path), ("--rows", int), ("--encoder", str), ("--reads", str)):
        options.add_argument(name, type=kind)
    options.add_argument("--batch-size", type=int)
    options.add_argument("--device")
    print(json.dumps({"rows/s": measure(options.parse_args())}))


def measure(chosen: Any) -> float:
    """Rows per second of the loop, its model being there already."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_data(chosen, Path(folder) / "data")
        items = dataset.images if chosen.reads == "image" else dataset.captions
        inputs = list(dict.fromkeys(item for item in items if item is not None))[: chosen.rows]
        prepare, encode = library(chosen.encoder, chosen.reads, chosen.device)
        return loop(inputs, prepare, encode, chosen)


def loop(inputs: list[Any], prepare: Callable[[Any], Any], encode: Callable[[Any], Any], options: Any) -> float:
    """Rows per second, the workers' start included as it is in any such loop."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Inputs(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(inputs)

        def __getitem__(self, number: int) -> Any:
            return prepare(inputs[number])

    def gather(items: list[Any]) -> Any:
        kept = [item for item in items if item is not None]
        return torch.stack(kept) if kept and isinstance(kept[0], torch.Tensor) else kept

    workers = len(os.sched_getaffinity(0)) if options.reads == "image" else 0
    loader = DataLoader(Inputs(), batch_size=options.batch_size, num_workers=workers, collate_fn=gather)
    features = []
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in loader:
            if len(batch):
                features.append(encode(batch).cpu())
    return len(inputs) / (time.perf_counter() - started)


def library(name: str, reads: str, device: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """(one input to a tensor, batch to features), with the backend's own functions."""
    from clipfuse.encoders import ALIASES

    backend, _, target = (ALIASES[name].target if name in ALIASES else name).partition(":")
    if backend == "clip":
        import open_clip

        published = target.split("/", 1) if ":" not in target else [target]
        model, transform = open_clip.create_model_from_pretrained(*published)
        model = model.eval().to(device)
        if reads == "image":
            return picture(transform), lambda batch: model.encode_image(batch.to(device))
        tokenizer = open_clip.get_tokenizer(published[0])
        return (lambda text: tokenizer([text])[0]), lambda batch: model.encode_text(batch.to(device))
    if backend == "timm":
        import timm
        from timm.data import create_transform, resolve_model_data_config

        model = timm.create_model(target, pretrained=True, num_classes=0).eval().to(device)
        transform = create_transform(**resolve_model_data_config(model, use_test_size=True), is_training=False)
        return picture(transform), lambda batch: model(batch.to(device))
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(target)
    model = AutoModel.from_pretrained(target, dtype=torch.float32).eval().to(device)

    def encode(texts: list[str]) -> Any:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt").to(device)
        return model(**batch).last_hidden_state[:, 0]

    return (lambda text: text), encode


def picture(transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    from PIL import Image

    def prepare(reference: Any) -> Any:
        try:
            return transform(Image.open(io.BytesIO(reference.read())).convert("RGB"))
        except OSError:
            return None

    return prepare


if __name__ == "__main__":
    main()
