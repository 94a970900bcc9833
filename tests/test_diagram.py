"""The diagram of DETR: which part is lit, what it says aloud, and that it fits its frame."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_mini.colours import CARD, INK
from detr_mini.teaching.diagram import CHAPTERS, PARTS, diagram, inlined

NAMES = [
    "image",
    "nested_tensor",
    "backbone",
    "position_encoding",
    "encoder",
    "queries",
    "decoder",
    "heads",
    "matcher",
    "loss",
]
BOOK = Path(__file__).resolve().parent.parent / "book"
SVG = "{http://www.w3.org/2000/svg}"


def tree(lit: tuple[str, ...] = ()) -> ET.Element:
    """What the built book has in its page."""
    return ET.fromstring(inlined(diagram(lit)._repr_html_()))


def bold(root: ET.Element) -> set[str | None]:
    return {text.text for text in root.iter(f"{SVG}text") if text.get("font-weight") == "700"}


def test_the_names_of_the_parts_are_fixed() -> None:
    assert sorted(PARTS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_lit_part_differs_in_weight_and_border_and_is_said_aloud(name: str) -> None:
    root = tree((name,))
    assert bold(root) == {line for part in PARTS[name] for line in part.lines}
    thick = [box for box in root.iter(f"{SVG}rect") if float(box.get("stroke-width", 1)) > 2]
    assert len(thick) == len(PARTS[name])
    spoken = root.get("aria-label", "").split("Lit: ")[1]
    assert all(part.words in spoken for part in PARTS[name])


def test_nothing_is_lit_unless_asked_for() -> None:
    assert not bold(tree())
    assert not [link for link in tree().iter("a") if "aria-current" in link.attrib]


def test_every_part_is_labeled_in_the_picture_and_in_words() -> None:
    root = tree()
    written = {text.text for text in root.iter(f"{SVG}text")}
    assert {line for parts in PARTS.values() for part in parts for line in part.lines} <= written
    shapes = {"(B, 3, H, W)", "(B, C, h, w)", "(B, hw, d)", "(B, N, d)", "(B, N, K+1)", "(B, N, 4)"}
    assert shapes <= written


def percent(link: ET.Element, name: str) -> float:
    found = re.search(rf"(?:^|;){name}:([\d.]+)%", link.get("style", ""))
    assert found
    return float(found[1]) / 100


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_its_chapter_lies_over_each_box(name: str) -> None:
    for part in PARTS[name]:
        (link,) = [link for link in tree((name,)).iter("a") if link.get("aria-label") == part.words]
        assert link.get("href") == f"{CHAPTERS[name]}.ipynb"
        assert (BOOK / f"{CHAPTERS[name]}.ipynb").is_file()
        assert link.get("aria-current") == "true"
        (piece,) = [
            piece
            for piece in tree().findall(f"div/{SVG}svg/..")
            if any(a.get("aria-label") == part.words for a in piece.iter("a"))
        ]
        svg = piece.find(f"{SVG}svg")
        assert svg is not None
        left, top, width, height = map(float, svg.get("viewBox", "").split())
        box = [left + width * percent(link, "left"), top + height * percent(link, "top")]
        box += [width * percent(link, "width"), height * percent(link, "height")]
        boxes = [
            [float(rect.get(key, "nan")) for key in ("x", "y", "width", "height")] for rect in svg.iter(f"{SVG}rect")
        ]
        assert any(box == pytest.approx(drawn, abs=0.1) for drawn in boxes)


def test_the_drawing_stays_inside_its_frame_and_boxes_do_not_overlap() -> None:
    for piece in tree(tuple(NAMES)).iter(f"{SVG}svg"):
        left, top, width, height = map(float, piece.get("viewBox", "").split())
        boxes = []
        for rect in piece.iter(f"{SVG}rect"):
            x, y, w, h = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            assert left <= x < x + w <= left + width
            assert top <= y < y + h <= top + height
            if not rect.get("stroke-dasharray"):
                boxes.append((x, y, x + w, y + h))
        for n, (ax0, ay0, ax1, ay1) in enumerate(boxes):
            for bx0, by0, bx1, by1 in boxes[n + 1 :]:
                assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_the_same_parts_give_the_same_text(lit: list[str]) -> None:
    assert diagram(lit)._repr_html_() == diagram(tuple(lit))._repr_html_()
    assert len(bold(tree(tuple(lit)))) == len({line for name in lit for part in PARTS[name] for line in part.lines})


def test_in_the_built_book_ink_follows_the_page_and_nothing_is_fetched() -> None:
    html = inlined(diagram("encoder")._repr_html_())
    assert "currentColor" in html
    assert not re.search(rf"({CARD}|{INK}|src=|url\(|<style|<script|https?://(?!www.w3.org))", html)


def test_a_notebook_has_pictures_that_bring_their_own_ground_and_ink() -> None:
    html = diagram("encoder")._repr_html_()
    assert not re.search(r"<svg|<text|<style|<script|https?:", html), (
        "what JupyterLab strips where no one trusts it yet"
    )
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)"', html)
    assert all(len(alt) >= 15 for _, alt in pictures)
    drawn = [ET.fromstring(base64.b64decode(picture)) for picture, _ in pictures]
    assert bold(drawn[0]) | bold(drawn[1]) == {"encoder"}
    for svg in drawn:
        assert svg.get("color") == INK
        assert svg[0].get("fill") == CARD
        assert [svg[0].get(key, "0") for key in ("x", "y", "width", "height")] == svg.get("viewBox", "").split()


def test_viewers_without_html_have_the_whole_as_svg_and_in_words() -> None:
    whole = ET.fromstring(diagram(("encoder", "loss"))._repr_svg_())
    assert bold(whole) == {"encoder", "loss"}
    words = repr(diagram(("encoder", "loss")))
    assert words == tree(("encoder", "loss")).get("aria-label") == whole[0].text
    assert words.endswith("Lit: encoder, loss.")


def test_one_name_may_be_given_alone() -> None:
    assert diagram("encoder") == diagram(["encoder"])


@pytest.mark.parametrize("lit", ["attention", ("encoder", "Decoder"), ("",)])
def test_an_unknown_part_is_named_with_the_known_ones(lit: str | tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"no part .* there are image, nested_tensor, .*, loss"):
        diagram(lit)
