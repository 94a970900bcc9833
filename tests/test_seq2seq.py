"""The Transformer of 2017 against ``torch.nn.Transformer`` with the same weights, and what it may and may not read."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from detr_mini.modeling.seq2seq import BEGIN, END, PAD, Seq2SeqTransformer, sine_positions

SOURCE, TARGET, D = 17, 13, 24


def model(seed: int = 0, *, pre_norm: bool = False) -> Seq2SeqTransformer:
    """A small one with weights large enough that every part matters, in evaluation mode."""
    torch.manual_seed(seed)
    made = Seq2SeqTransformer(
        SOURCE, TARGET, d=D, heads=4, enc_layers=2, dec_layers=3, dim_feedforward=40, pre_norm=pre_norm
    )
    for name, parameter in made.named_parameters():
        if "embed" not in name:
            nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.3)
    return made.eval()


def peer(ours: Seq2SeqTransformer, *, pre_norm: bool) -> nn.Transformer:
    """PyTorch's, with the weights of ours under the same names. Its last norms, in post-norm too, are dropped there."""
    options = {"dim_feedforward": 40, "batch_first": True, "norm_first": pre_norm}
    layer = nn.TransformerEncoderLayer(D, 4, **options)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(D), enable_nested_tensor=False)  # a prototype that warns
    theirs = nn.Transformer(D, 4, num_decoder_layers=3, custom_encoder=encoder, **options).eval()
    if not pre_norm:
        theirs.encoder.norm = theirs.decoder.norm = None
    weights = {key: value for key, value in ours.state_dict().items() if key.startswith(("encoder.", "decoder."))}
    theirs.load_state_dict(weights, strict=True)
    return theirs


def sentences(vocab: int, *lengths: int) -> Tensor:
    """Random words, BEGIN first, padded: ``(B, L)``."""
    ids = torch.randint(3, vocab, (len(lengths), max(lengths)))
    ids[:, 0] = BEGIN
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = PAD
    return ids


@pytest.mark.parametrize("pre_norm", [False, True])
def test_equals_the_transformer_of_pytorch(pre_norm: bool) -> None:
    ours = model(pre_norm=pre_norm)
    theirs = peer(ours, pre_norm=pre_norm)
    source, target = sentences(SOURCE, 9, 4, 1), sentences(TARGET, 3, 7, 5)
    with torch.no_grad():
        memory, _ = ours.encode(source)
        read = theirs.encoder(ours.embed(ours.source_embed, source), src_key_padding_mask=source == PAD)
        real = source != PAD
        assert_close(memory[real], read[real], rtol=1e-5, atol=1e-5)
        written = theirs(
            ours.embed(ours.source_embed, source),
            ours.embed(ours.target_embed, target),
            tgt_mask=torch.ones(7, 7, dtype=torch.bool).triu(1),
            src_key_padding_mask=source == PAD,
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=source == PAD,
        )
        real = target != PAD
        assert_close(ours(source, target)[real], ours.logits(written)[real], rtol=1e-5, atol=1e-5)


def test_has_no_last_norm_in_post_norm_and_one_each_in_pre_norm() -> None:
    assert not [name for name, _ in model().named_parameters() if ".norm." in name]
    names = [name for name, _ in model(pre_norm=True).named_parameters() if ".norm." in name]
    assert names == ["encoder.norm.weight", "encoder.norm.bias", "decoder.norm.weight", "decoder.norm.bias"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(2, 8), st.booleans(), st.data())
def test_a_later_word_changes_no_earlier_logit(
    seed: int, source_length: int, length: int, pre_norm: bool, data: st.DataObject
) -> None:
    ours = model(seed, pre_norm=pre_norm)
    source, target = sentences(SOURCE, source_length), sentences(TARGET, length)
    changed = data.draw(st.integers(1, length - 1))
    other = target.clone()
    other[:, changed:] = (other[:, changed:] - 3 + data.draw(st.integers(1, TARGET - 4))) % (TARGET - 3) + 3
    with torch.no_grad():
        before, after = ours(source, target), ours(source, other)
    assert_close(before[:, :changed], after[:, :changed], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before[:, changed], after[:, changed], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_padding_has_no_influence(seed: int, source_length: int, length: int, surplus: int) -> None:
    ours = model(seed)
    source, target = sentences(SOURCE, source_length), sentences(TARGET, length)
    padded = nn.functional.pad(source, (0, surplus)), nn.functional.pad(target, (0, surplus))
    with torch.no_grad():
        assert_close(ours(*padded)[:, :length], ours(source, target), rtol=1e-5, atol=1e-5)


def test_every_word_of_the_source_can_change_every_logit() -> None:
    ours, source, target = model(), sentences(SOURCE, 6), sentences(TARGET, 4)
    with torch.no_grad():
        before = ours(source, target)
        for place in range(6):
            other = source.clone()
            other[0, place] = 3 + (other[0, place] - 2) % (SOURCE - 3)
            assert (ours(source=other, target=target) - before).abs().amax(-1).min() > 1e-5


def test_the_order_of_words_matters_by_their_positions_alone() -> None:
    ours, source, target = model(), sentences(SOURCE, 6), sentences(TARGET, 4)
    shuffled = source[:, [3, 0, 5, 1, 4, 2]]
    with torch.no_grad():
        assert not torch.allclose(ours(shuffled, target), ours(source, target), atol=1e-3)
        memory = ours.encoder(ours.source_embed(source))
        assert_close(ours.encoder(ours.source_embed(shuffled)), memory[:, [3, 0, 5, 1, 4, 2]], rtol=1e-5, atol=1e-5)


def test_the_target_embedding_is_the_last_projection() -> None:
    ours = model()
    y = torch.randn(2, 3, D)
    assert_close(ours.logits(y), y @ ours.target_embed.weight.T)
    assert sum(tuple(p.shape) == (TARGET, D) for p in ours.parameters()) == 1


def test_embeddings_start_as_loud_as_the_positions() -> None:
    """Both have about the same mean square, 1 and 1/2, so that neither drowns the other."""
    fresh = Seq2SeqTransformer(500, 500, d=128)
    scaled = fresh.source_embed.weight * 128**0.5
    assert scaled.square().mean().item() == pytest.approx(1.0, rel=0.05)
    assert sine_positions(50, 128).square().mean().item() == pytest.approx(0.5, rel=1e-4)
    embedded = fresh.eval().embed(fresh.source_embed, torch.arange(3, 20)[None])
    assert_close(embedded[0], scaled[3:20] + sine_positions(17, 128))


def test_positions_are_those_of_the_paper() -> None:
    table = sine_positions(30, 8)
    for place in (0, 1, 7, 29):
        for channel in range(4):
            angle = torch.tensor(place / 10000 ** (2 * channel / 8), dtype=torch.float64)
            assert table[place, 2 * channel].item() == pytest.approx(angle.sin().item(), abs=1e-6)
            assert table[place, 2 * channel + 1].item() == pytest.approx(angle.cos().item(), abs=1e-6)
    assert_close(sine_positions(4, 8, start=11), table[11:15])
    with pytest.raises(ValueError, match="even, not 7"):
        sine_positions(3, 7)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_the_cache_changes_nothing_that_is_written(pre_norm: bool, beams: int) -> None:
    for seed in range(5):
        ours = model(seed, pre_norm=pre_norm)
        source = sentences(SOURCE, 8, 3, 5, 1)
        cached = ours.generate(source, 20, beams=beams)
        assert torch.equal(cached, ours.generate(source, 20, beams=beams, use_cache=False))


def test_one_word_at_a_time_gives_the_logits_of_all_at_once() -> None:
    ours, source, target = model(), sentences(SOURCE, 5, 2), sentences(TARGET, 7, 7)
    with torch.no_grad():
        memory, padding = ours.encode(source)
        caches = [layer.new_cache(memory) for layer in ours.decoder.layers]
        steps = [
            ours.logits(ours.decoder.step(ours.embed(ours.target_embed, word[:, None], start=i), caches, padding))
            for i, word in enumerate(target.T)
        ]
        assert_close(torch.cat(steps, dim=1), ours(source, target), rtol=1e-5, atol=1e-5)


def test_a_sentence_is_written_the_same_alone_and_among_others() -> None:
    ours, source = model(3), sentences(SOURCE, 8, 3, 5, 1)
    for beams in (1, 4):
        together = ours.generate(source, 12, beams=beams)
        for row, length in enumerate((8, 3, 5, 1)):
            alone = ours.generate(source[row : row + 1, :length], 12, beams=beams)[0]
            assert torch.equal(together[row, : len(alone)], alone)
            assert (together[row, len(alone) :] == PAD).all()


def test_greedy_is_the_argmax_of_each_step() -> None:
    ours, source = model(1), sentences(SOURCE, 6)
    written = ours.generate(source, 10)[0]
    target = torch.cat([torch.tensor([BEGIN]), written])[None]
    with torch.no_grad():
        assert torch.equal(ours(source, target)[0, :-1].argmax(-1), written)


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"max_length": 0}])
def test_refuses_to_write_nothing(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="=0"):
        model().generate(sentences(SOURCE, 3), **wrong)


def test_writes_on_fake_cuda_without_a_tensor_left_behind() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=False), torch.device("cuda"):
        ours = Seq2SeqTransformer(SOURCE, TARGET, d=16, heads=2).eval()
        source, target = torch.full((2, 5), END), torch.full((2, 4), END)
        assert ours(source, target).device.type == "cuda"
