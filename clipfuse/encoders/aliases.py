"""The encoders with a short name: what each is, and where it comes from. A table: nothing here is loaded.

What can be read from the libraries' own lists (widths, sizes, parameters, repositories, licences) is checked by the
tests against the installed libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipfuse.encoders.request import Pooling
from clipfuse.encoders.spec import Modality

CARD = "see its model card"


@dataclass(frozen=True)
class Alias:
    """A short name for an encoder.

    Attributes:
        target: its full name.
        widths: what it reads -> output -> width, the default output first.
        pixels: side of the square picture that it reads; None where it reads none.
        max_tokens: longest caption, special tokens included; None where it reads none.
        parameters: numbers in the network as it is used: without a classifier on top.
        source: repository of the hub, address of a file, or where else it is.
        licence: of the weights.
        about: a line for people.
        pickled: its source has no safetensors, so that it has to be downloaded and converted by hand.
        prefix: what it wants before each caption.
        pooling: the default output of a transformers model.
    """

    target: str
    widths: Mapping[Modality, Mapping[str, int]]
    pixels: int | None
    max_tokens: int | None
    parameters: int
    source: str
    licence: str
    about: str
    pickled: bool = False
    prefix: str = ""
    pooling: Pooling | None = None


def _clip(
    model: str,
    repository: str,
    image: tuple[int, int | None],
    text: tuple[int, int],
    reads: tuple[int, int],
    parameters: int,
    licence: str,
    about: str,
) -> Alias:
    """``image`` and ``text``: (projected, pooled); ``reads``: (pixels, tokens)."""
    widths: dict[Modality, dict[str, int]] = {
        "image": {"projected": image[0]} | ({"pooled": image[1]} if image[1] else {}),
        "text": {"projected": text[0], "pooled": text[1]},
    }
    return Alias(f"clip:{model}", widths, *reads, parameters, repository, licence, about)


def _timm(name: str, width: int, pixels: int, parameters: int, about: str, licence: str = "apache-2.0") -> Alias:
    widths: dict[Modality, dict[str, int]] = {"image": {"pooled": width}}
    return Alias(f"timm:{name}", widths, pixels, None, parameters, f"timm/{name}", licence, about)


def _hf(
    repository: str,
    width: int,
    parameters: int,
    licence: str,
    about: str,
    *,
    pooler: bool = True,
    pickled: bool = False,
    prefix: str = "",
    pooling: Pooling = "mean",
) -> Alias:
    names = ["mean", "cls"] if pooling == "mean" else ["cls", "mean"]
    widths: dict[Modality, dict[str, int]] = {"text": dict.fromkeys(names + ["pooler"] * pooler, width)}
    target = f"hf:{repository}"
    return Alias(target, widths, None, 512, parameters, repository, licence, about, pickled, prefix, pooling)


ALIASES: dict[str, Alias] = {
    "mini": Alias(
        f"clip:local-dir:{Path(__file__).parent / 'mini'}",
        {"image": {"projected": 256, "pooled": 1280}, "text": {"projected": 256, "pooled": 128}},
        96,
        24,
        4_525_537,
        "built in",
        "apache-2.0",
        "embedded small CLIP, 256-d, for demos and tests; its README.md says what it is not",
    ),
    # pictures and captions
    "clip-vit-b-32": _clip(
        "ViT-B-32-quickgelu/openai",
        "timm/vit_base_patch32_clip_224.openai",
        (512, 768),
        (512, 512),
        (224, 77),
        151_277_313,
        "apache-2.0",
        "OpenAI's CLIP, the small one",
    ),
    "clip-vit-l-14": _clip(
        "ViT-L-14-quickgelu/openai",
        "timm/vit_large_patch14_clip_224.openai",
        (768, 1024),
        (768, 768),
        (224, 77),
        427_616_513,
        "apache-2.0",
        "OpenAI's CLIP, the one that most papers use",
    ),
    "siglip2-vit-b-32": _clip(
        "ViT-B-32-SigLIP2-256/webli",
        "timm/ViT-B-32-SigLIP2-256",
        (768, None),
        (768, 768),
        (256, 64),
        376_856_066,
        "apache-2.0",
        "SigLIP 2: many languages; quick for its score",
    ),
    "siglip2-vit-b-16": _clip(
        "ViT-B-16-SigLIP2/webli",
        "timm/ViT-B-16-SigLIP2",
        (768, None),
        (768, 768),
        (224, 64),
        375_187_970,
        "apache-2.0",
        "SigLIP 2: many languages",
    ),
    "siglip2-vit-l-16": _clip(
        "ViT-L-16-SigLIP2-256/webli",
        "timm/ViT-L-16-SigLIP2-256",
        (1024, None),
        (1024, 1024),
        (256, 64),
        881_526_786,
        "apache-2.0",
        "SigLIP 2, large",
    ),
    "siglip2-so400m-14": _clip(
        "ViT-SO400M-14-SigLIP2/webli",
        "timm/ViT-SO400M-14-SigLIP2",
        (1152, None),
        (1152, 1152),
        (224, 64),
        1_135_463_602,
        "apache-2.0",
        "SigLIP 2, the strongest at 224 pixels; wants a GPU",
    ),
    "mobileclip2-s0": _clip(
        "MobileCLIP2-S0/dfndr2b",
        "timm/MobileCLIP2-S0-OpenCLIP",
        (512, 1024),
        (512, 512),
        (256, 77),
        74_835_073,
        "apple-amlr",
        "MobileCLIP 2, the quickest CLIP for a CPU",
    ),
    "mobileclip2-s2": _clip(
        "MobileCLIP2-S2/dfndr2b",
        "timm/MobileCLIP2-S2-OpenCLIP",
        (512, 1280),
        (512, 512),
        (256, 77),
        99_243_329,
        "apple-amlr",
        "MobileCLIP 2, near CLIP's ViT-B/16 at less cost",
    ),
    "mobileclip2-b": _clip(
        "MobileCLIP2-B/dfndr2b",
        "timm/MobileCLIP2-B-OpenCLIP",
        (512, 768),
        (512, 512),
        (224, 77),
        149_777_153,
        "apple-amlr",
        "MobileCLIP 2, a ViT-B/16",
    ),
    "mobileclip2-s4": _clip(
        "MobileCLIP2-S4/dfndr2b",
        "timm/MobileCLIP2-S4-OpenCLIP",
        (768, 4096),
        (768, 768),
        (256, 77),
        445_435_137,
        "apple-amlr",
        "MobileCLIP 2, the strong one",
    ),
    # pictures
    "efficientnet-b0": _timm("efficientnet_b0.ra_in1k", 1280, 224, 4_007_548, "light and good on a CPU"),
    "efficientnet-b1": _timm("efficientnet_b1.ft_in1k", 1280, 256, 6_513_184, "EfficientNet, a step up"),
    "efficientnet-b2": _timm("efficientnet_b2.ra_in1k", 1408, 288, 7_700_994, "EfficientNet, two steps up"),
    "efficientnet-b3": _timm("efficientnet_b3.ra2_in1k", 1536, 320, 10_696_232, "EfficientNet, larger pictures"),
    "efficientnet-b4": _timm("efficientnet_b4.ra2_in1k", 1792, 384, 17_548_616, "EfficientNet, the largest here"),
    "efficientnet-v2-s": _timm("tf_efficientnetv2_s.in21k_ft_in1k", 1280, 384, 20_177_488, "trained on 21,000 classes"),
    "mobilenet-v2": _timm("mobilenetv2_100.ra_in1k", 1280, 224, 2_223_872, "the lightest"),
    "mobilenet-v3-large": _timm("mobilenetv3_large_100.ra_in1k", 1280, 224, 4_202_032, "light, for phones"),
    "shufflenet-v2-x2": Alias(
        "torchvision:shufflenet_v2_x2_0.IMAGENET1K_V1",
        {"image": {"pooled": 2048}},
        224,
        None,
        5_344_996,
        "https://download.pytorch.org/models/shufflenetv2_x2_0-8be3c8ee.pth",
        "bsd-3-clause",
        "light; download it, convert it once, then --weights",
        pickled=True,
    ),
    "resnet18": _timm("resnet18.tv_in1k", 512, 224, 11_176_512, "the classic, small", "bsd-3-clause"),
    "resnet50": _timm("resnet50.tv_in1k", 2048, 224, 23_508_032, "the classic", "bsd-3-clause"),
    "resnet101": _timm("resnet101.tv_in1k", 2048, 224, 42_500_160, "the classic, deep", "bsd-3-clause"),
    "densenet121": _timm("densenet121.tv_in1k", 1024, 224, 6_953_856, "few weights, much work"),
    "densenet169": _timm("densenet169.tv_in1k", 1664, 224, 12_484_480, "DenseNet, deeper"),
    "densenet201": _timm("densenet201.tv_in1k", 1920, 224, 18_092_928, "DenseNet, deepest here"),
    "vgg11-bn": _timm(
        "vgg11_bn.tv_in1k", 4096, 224, 128_771_840, "old and heavy; after its connected layers", "bsd-3-clause"
    ),
    "vgg16-bn": _timm("vgg16_bn.tv_in1k", 4096, 224, 134_268_992, "old and heavier", "bsd-3-clause"),
    "vgg19-bn": _timm("vgg19_bn.tv_in1k", 4096, 224, 139_581_248, "old and heaviest", "bsd-3-clause"),
    "dinov2-vit-s-14": _timm("vit_small_patch14_dinov2.lvd142m", 384, 518, 22_056_192, "learned without labels"),
    "dinov2-vit-b-14": _timm("vit_base_patch14_dinov2.lvd142m", 768, 518, 86_579_712, "DINOv2; slow at 518 pixels"),
    "dinov3-vit-s-16": _timm(
        "vit_small_patch16_dinov3.lvd1689m", 384, 256, 21_586_944, "DINOv3, small", "dinov3-license"
    ),
    "dinov3-vit-b-16": _timm("vit_base_patch16_dinov3.lvd1689m", 768, 256, 85_641_216, "DINOv3", "dinov3-license"),
    "dinov3-vit-l-16": _timm(
        "vit_large_patch16_dinov3.lvd1689m", 1024, 256, 303_079_424, "DINOv3, large", "dinov3-license"
    ),
    # captions
    "bert-base": _hf("google-bert/bert-base-uncased", 768, 109_482_240, "apache-2.0", "the classic; lower case"),
    "distilbert": _hf(
        "distilbert/distilbert-base-uncased", 768, 66_362_880, "apache-2.0", "BERT at half the depth", pooler=False
    ),
    "albert-base": _hf("albert/albert-base-v2", 768, 11_683_584, "apache-2.0", "BERT with one layer's weights"),
    "tinybert-4l-312": _hf(
        "huawei-noah/TinyBERT_General_4L_312D", 312, 14_350_248, CARD, "BERT's small pupil", pickled=True
    ),
    "bert-tiny": _hf("google/bert_uncased_L-2_H-128_A-2", 128, 4_385_920, "apache-2.0", "two layers; the quickest"),
    "deberta-v3-small": _hf(
        "microsoft/deberta-v3-small", 768, 141_304_320, "mit", "DeBERTa v3, small", pooler=False, pickled=True
    ),
    "deberta-v3-base": _hf(
        "microsoft/deberta-v3-base", 768, 183_831_552, "mit", "DeBERTa v3", pooler=False, pickled=True
    ),
    "minilm": _hf("sentence-transformers/all-MiniLM-L6-v2", 384, 22_713_216, "apache-2.0", "quick sentence features"),
    "e5-small": _hf("intfloat/e5-small-v2", 384, 33_360_000, "mit", "E5, with its 'query: '", prefix="query: "),
    "e5-base": _hf("intfloat/e5-base-v2", 768, 109_482_240, "mit", "E5, with its 'query: '", prefix="query: "),
    "bge-small": _hf("BAAI/bge-small-en-v1.5", 384, 33_360_000, "mit", "BGE, first token", pooling="cls"),
    "bge-base": _hf("BAAI/bge-base-en-v1.5", 768, 109_482_240, "mit", "BGE, first token", pooling="cls"),
}
