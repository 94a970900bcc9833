"""Two sentences with a line from word to word."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import torch

from detr_mini.data.grammar import CHINESE, corpus
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.teaching.alignment import CROSSED, GLOSSES, STRAIGHT, alignment_figure, cross_weights, gloss

SVG = "{http://www.w3.org/2000/svg}"
ALT = "Three words on either side, with lines of which two cross and one does not."


def test_every_word_of_the_language_has_a_gloss() -> None:
    assert set(GLOSSES) == set(CHINESE.words)
    assert gloss(["两", "辆", "汽车"]) == "两 two, 辆 (measure), 汽车 car"


def test_lines_that_cross_are_told_from_those_that_do_not() -> None:
    figure = alignment_figure(["a", "b", "c"], ["有", "两", "辆"], [(0, 0), (1, 2), (2, 1)], alt=ALT)
    root = ET.fromstring(figure.svg)
    lines = [(one.get("d"), one.get("stroke"), one.get("stroke-dasharray")) for one in root.iter(f"{SVG}path")]
    assert lines == [
        ("M92 17L208 17", STRAIGHT, "5 3"),
        ("M92 69L208 43", CROSSED, None),
        ("M92 43L208 69", CROSSED, None),
    ]
    assert root.get("aria-label") == ALT
    assert repr(figure) == f"A figure: {ALT}"
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ["a", "b", "c", "有", "两", "辆", "there is", "two", "(measure)"]


def test_it_is_as_tall_as_its_longer_side() -> None:
    for sentence in (["a"] * 5, ["a"] * 2):
        figure = alignment_figure(sentence, ["有"] * 3, [], alt=ALT)
        assert f'viewBox="0 0 344 {26 * max(len(sentence), 3) + 8}"' in figure._repr_html_()


def test_a_text_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="alt"):
        alignment_figure(["a"], ["有"], [(0, 0)], alt="x")


def test_corpus_words_can_be_drawn() -> None:
    from detr_mini.data.grammar import alignment, chinese, english

    for sentence in corpus("longer", 3):
        links = [(link.target, link.source) for link in alignment(sentence)]
        figure = alignment_figure(english(sentence), chinese(sentence), links, alt=ALT)
        assert figure.svg.count("<path") == len(links)


def test_cross_weights_are_those_with_which_the_layers_read() -> None:
    torch.manual_seed(0)
    model = Seq2SeqTransformer(9, 8, d=16, heads=2, enc_layers=1, dec_layers=3, dim_feedforward=16).eval()
    source = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])  # (B, S), 0 is padding
    target = torch.tensor([[1, 3, 4], [1, 5, 0]])  # (B, T)
    seen = []
    last = model.decoder.layers[-1].multihead_attn
    hook = last.register_forward_hook(lambda module, given, read: seen.append((given, read)))
    weights = cross_weights(model, source, target)  # (layers, B, heads, T, S)
    hook.remove()
    assert weights.shape == (3, 2, 2, 3, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 2, 3))
    assert (weights[:, 1, ..., 2:] == 0).all()
    (given, read) = seen[0]
    _, v = last.keys_values(given[1])  # (B, heads, S, d / heads)
    torch.testing.assert_close(last.out_proj((weights[-1] @ v).transpose(1, 2).flatten(2)), read)
    assert not any(layer.multihead_attn._forward_pre_hooks for layer in model.decoder.layers)
