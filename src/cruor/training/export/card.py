"""The model card, made of a manifest alone."""

from __future__ import annotations

import jinja2

from cruor.bundle.manifest import Manifest
from cruor.training.calibration import PLAIN_HEAD
from cruor.training.export.figures import NEVER_SEEN

NETWORK_WORDS = {
    "lite0": "EfficientNet-Lite0, global average pooling, one linear layer",
    "blood-map": "EfficientNet-Lite0 and a per-pixel head on features of strides 8, 16 and 32; the logit of "
    "any is made of the mean of the map's hottest cells and a linear layer on the pooled last features",
    "timm": "{backbone} of timm, global average pooling, one linear layer",
    "effclass": "EffClass (Cortés-Ferre et al. 2023, figures A4 to A7): EfficientDet-D0 without heads, five "
    "transposed convolutions, two convolutions, ResNet-18",
    "effclass-mended": "EffClass (Cortés-Ferre et al. 2023) with its faults mended: non-linear between the "
    "layers, transposed convolutions that fill the map",
    "effclass-fc": "EfficientDet-D0 without heads, its feature maps flattened into one fully connected layer "
    "(Cortés-Ferre et al. 2023, appendix A.1)",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
}
"""What a card says of each network of `networks/`."""

CROP_WORDS = {
    "head": "the head, cut out of a slice and",
    "shown-head": "the head as far as the windows show it, cut out of a slice and",
    "slice": "the whole slice,",
}
"""How the card tells a crop's area."""

STUDY_FEATURE_WORDS = {
    "highest": "the highest slice logit",
    "peak": "the highest slice logit, each averaged once more with the slices before and after",
    "top_mean": "the mean of the highest tenth of slice logits, averaged likewise",
}
"""How the card tells a feature of the study head."""


USUAL_WORDS = {
    "brain_hu": "HU of the brain",
    "spread_hu": "half the distance of the 10th and 90th percentile of HU in the brain",
    "brain_share": "share of the skull's inside that looks like brain",
}
"""How the card tells a measure of `reader.unlike`."""


def render_card(manifest: Manifest) -> str:
    """The model card as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cruor.training", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of our own figures
    )
    network = NETWORK_WORDS[manifest.network.name].format(backbone=manifest.network.backbone)
    card = environment.get_template("card.md.j2")
    never_seen = any(NEVER_SEEN in figure.name for figure in manifest.figures)
    # Older manifests do not tell: several networks were of folds then.
    usual = "crossval" if manifest.network.members > 1 else "train"
    networks_of = str(manifest.made_by.get("networks_of", usual))
    commands = "`cruor train` and `cruor crossval`"
    if "split" in manifest.made_by or "measured_by" in manifest.made_by:
        commands = "`cruor train`"
    elif networks_of == "crossval":
        commands = "`cruor crossval`"
    return card.render(
        manifest=manifest,
        beside=manifest.made_by.get("beside", []),
        networks_of=networks_of,
        sides=[side or manifest.input.crop.size for side in manifest.network.sides],
        network=network,
        plain_head=PLAIN_HEAD,
        area=CROP_WORDS[manifest.input.crop.area],
        features=[STUDY_FEATURE_WORDS[name] for name in manifest.study_head.features],
        never_seen=never_seen,
        usual_words=USUAL_WORDS,
        commands=commands,
    )
