"""Saliency maps of right and wrong cases, with the check by randomised weights beside them."""

from typing import Any

from bench.report import wording
from bench.report.blocks import Block, Missing, Paragraph
from bench.report.figures import failures as figures_failures
from bench.report.names import present
from bench.report.page import Page
from bench.report.read.files import listed, mapping

WARNING = "Such maps explain nothing by themselves."
MOST = 12


def saliency(page: Page) -> list[Block]:
    """What the maps are, the maps, and what the randomised weights say of them."""
    known = page.files.evaluated.saliency
    content, images = None if known is None else mapping(known), page.files.evaluated.saliency_images
    blocks: list[Block] = [*page.problems("saliency.json")]
    if content is None:
        return blocks
    randomisation = mapping(content.get("randomisation"))
    method = wording.text(content.get("method"))
    said = [content.get("why"), content.get("sentence"), randomisation.get("sentence")]
    told = " ".join(str(one) for one in said if present(one))
    blocks.append(Paragraph(f"Method: {method}. {told}" + ("" if "nothing" in told else f" {WARNING}")))
    items = [mapping(item) for item in listed(content.get("items"))]
    if images is None or images.maps is None or images.randomised is None:
        return [*blocks, *page.problems("saliency.npz")]
    if len(items) != len(images.images):
        why = f"saliency.json names {len(items)}, and saliency.npz holds {len(images.images)}"
        return [*blocks, Missing(f"The maps are left out, because they do not fit their images: {why}.")]
    if not items:
        return [*blocks, Missing("saliency.npz holds no image.")]
    shown = items[:MOST]
    mean = wording.number(randomisation.get("mean_correlation"))
    correlation = "" if mean is None else f" Their mean correlation with the maps is {mean:.2f}."
    copies = any((wording.number(item.get("copies")) or 1) > 1 for item in shown)
    once = " Identical images are shown once, with their number (×)." if copies else ""
    alt = "; ".join(_words(item) for item in shown[:6])
    return [
        *blocks,
        page.picture(
            "saliency",
            lambda: figures_failures.saliency(images, shown),
            f"Images with their {method}s: {alt}.",
            f"{method[:1].upper()}{method[1:]}s. Of each case: the image, its map (the brighter, the more it speaks "
            f"for the predicted class), and the map of the same network with randomised weights.{correlation} Where "
            f"both look alike, the map shows the image rather than what the model learned.{once}",
        ),
    ]


def _words(item: dict[str, Any]) -> str:
    right = "right" if item.get("correct") is True else "wrong"
    return (
        f"{wording.text(item.get('image'))}, {wording.text(item.get('label'))}, predicted "
        f"{wording.text(item.get('predicted'))} with {wording.score(item.get('probability'))}, {right}"
    )
