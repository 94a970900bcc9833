"""The drawings of the layers and of queries, keys and values: what is lit, what they say, where they lead."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from detr_mini.colours import CARD, INK
from detr_mini.teaching.diagram_layers import LEADS, PARTS, layer_drawing
from detr_mini.teaching.diagram_shapes import shapes_drawing
from detr_mini.teaching.svg import inlined

BOOK = Path(__file__).resolve().parent.parent / "book"
SVG = "{http://www.w3.org/2000/svg}"
LAYERS = ("encoder", "encoder pre-norm", "decoder", "decoder pre-norm")
DRAWINGS = {**{name: layer_drawing(name) for name in LAYERS}, "shapes": shapes_drawing()}
each_drawing = pytest.mark.parametrize("name", DRAWINGS)


def tree(html: str) -> ET.Element:
    return ET.fromstring(inlined(html))


def drawn(*layers: str, lit: str | tuple[str, ...] = ()) -> ET.Element:
    return tree(layer_drawing(*layers, lit=lit)._repr_html_())


def texts(root: ET.Element, **having: str) -> list[str | None]:
    found = root.iter(f"{SVG}text")
    return [text.text for text in found if all(text.get(key.replace("_", "-")) == v for key, v in having.items())]


def place(text: str, root: ET.Element) -> float:
    """How far down its words stand: the last of them, where there are several."""
    return max(float(found.get("y", "nan")) for found in root.iter(f"{SVG}text") if found.text == text)


@pytest.mark.parametrize("part", PARTS)
def test_a_lit_part_differs_in_weight_and_border_and_is_said_aloud(part: str) -> None:
    root = drawn("decoder", lit=part)
    wanted = {"positions": {"query_pos", "pos"}}.get(part, {part})
    assert set(texts(root, font_weight="700")) == wanted
    thick = [box for box in root.iter(f"{SVG}rect") if float(box.get("stroke-width", 1)) > 2]
    assert len(thick) == len(texts(root, font_weight="700")) > 0
    assert root.get("aria-label", "").endswith(f"Lit: {part}.")
    assert {link.get("aria-current") for link in root.iter("a")} == {"true", None}


def test_positions_go_to_queries_and_keys_and_never_to_values() -> None:
    words = repr(layer_drawing("encoder", "decoder"))
    assert "q and k from x + pos and v from x;" in words
    assert "q and k from tgt + query_pos and v from tgt;" in words
    assert "q from tgt + query_pos, k from memory + pos, v from memory" in words
    assert texts(drawn("decoder")).count("query_pos") == 2
    assert texts(drawn("decoder")).count("pos") == texts(drawn("encoder")).count("pos") == 1
    # Every arrow that ends at the edge of an attention begins, for a value, where no position was added.
    for name in ("encoder", "decoder"):
        root = drawn(name)
        rings = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{SVG}circle") if c.get("r") == "9"]
        lines = [
            [tuple(map(float, point.split(","))) for point in found.get("points", "").split()]
            for found in root.iter(f"{SVG}polyline")
        ]
        for letter in root.iter(f"{SVG}text"):
            if letter.text in ("q", "k", "v"):
                end = (float(letter.get("x", 0)) - 9, float(letter.get("y", 0)) - 14)
                (path,) = [points for points in lines if points[-1] == end]
                x, y = path[0]
                near = any(abs(x - cx) <= 9.1 and abs(y - cy) <= 18.1 for cx, cy in rings)
                assert near == (letter.text in "qk"), (name, letter.text)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_norm_stands_before_the_block_or_after_the_sum(name: str) -> None:
    norms = {"encoder": 2, "decoder": 3}[name]
    for form in (name, f"{name} pre-norm"):
        assert texts(drawn(form)).count("norm") == norms
    assert place("norm", drawn(name)) < place("self-attention", drawn(name)), "read from below: after"
    assert place("norm", drawn(f"{name} pre-norm")) > place("self-attention", drawn(f"{name} pre-norm"))


@each_drawing
def test_links_lead_to_sections_and_lie_over_what_they_name(name: str) -> None:
    root = tree(DRAWINGS[name]._repr_html_())
    assert root.findall("div/a")
    for piece in root.findall("div"):
        svg = piece.find(f"{SVG}svg")
        assert svg is not None
        _, top, width, height = map(float, svg.get("viewBox", "").split())
        rects = [[float(r.get(k, 0)) for k in ("x", "y", "width", "height")] for r in svg.iter(f"{SVG}rect")]
        for link in piece.findall("a"):
            page, _, heading = link.get("href", "").partition("#")
            text = (BOOK / "src" / page.replace(".ipynb", ".md")).read_text("utf-8")
            headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
            slugs = [re.sub(r"[^\w -]", "", found).lower().replace(" ", "-") for found in headings]
            assert not heading or heading in slugs, link.get("href")
            share = {k: float(v) / 100 for k, v in re.findall(r"(\w+):([\d.]+)%", link.get("style", ""))}
            box = [share["left"] * width, top + share["top"] * height, share["width"] * width, share["height"] * height]
            assert box[2] >= 24
            assert box[3] >= 24
            label = link.get("aria-label", "").split()[0]
            assert name == "shapes" or any(box == pytest.approx(rect, abs=0.1) for rect in rects), label


@each_drawing
def test_it_stays_inside_its_frame_and_boxes_do_not_overlap(name: str) -> None:
    for piece in tree(DRAWINGS[name]._repr_html_()).iter(f"{SVG}svg"):
        left, top, width, height = map(float, piece.get("viewBox", "").split())
        boxes = []
        for rect in piece.iter(f"{SVG}rect"):
            x, y, w, h = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            assert left <= x < x + w <= left + width
            assert top <= y < y + h <= top + height
            if rect.get("rx"):
                boxes.append((x, y, x + w, y + h))
        for found in piece.iter(f"{SVG}text"):
            assert left < float(found.get("x", "nan")) < left + width
            assert top < float(found.get("y", "nan")) < top + height
        for n, (ax0, ay0, ax1, ay1) in enumerate(boxes):
            for bx0, by0, bx1, by1 in boxes[n + 1 :]:
                assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0


@each_drawing
def test_a_page_has_the_ink_of_its_text_and_a_notebook_a_card(name: str) -> None:
    html = DRAWINGS[name]._repr_html_()
    assert not re.search(rf"({CARD}|{INK}|src=|url\(|<style|<script|https?://(?!www.w3.org))", inlined(html))
    assert not re.search(r"<svg|<text|<style|<script|https?:", html)
    for picture, alt in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)"', html):
        assert len(alt) >= 40
        svg = ET.fromstring(base64.b64decode(picture))
        assert svg.get("color") == INK
        assert svg[0].get("fill") == CARD


@each_drawing
def test_viewers_without_html_have_the_whole_as_svg_and_in_words(name: str) -> None:
    whole = ET.fromstring(DRAWINGS[name]._repr_svg_())
    assert whole[0].text == repr(DRAWINGS[name]) == tree(DRAWINGS[name]._repr_html_()).get("aria-label")


def test_rows_of_the_shapes_agree() -> None:
    """What is multiplied fits: hw by a head times a head by hw, and so on."""
    words = repr(shapes_drawing())
    written = texts(tree(shapes_drawing()._repr_html_()))
    assert written.count("hw × hw") == 2
    assert {"hw × d", "hw × d/heads", "d/heads × hw"} <= set(written)
    assert "made from x alone" in words


def test_unknown_names_are_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no layer is called 'head'; there are encoder, decoder"):
        layer_drawing("head")
    with pytest.raises(ValueError, match=r"no part of a layer is called 'loss'; there are self-attention"):
        layer_drawing("encoder", lit="loss")
    assert set(LEADS) > {"pos", "query_pos"}
