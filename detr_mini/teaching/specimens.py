"""What some exercises are tried on: small functions and networks, as names of a module, so that they can be stored."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.modeling.decoding import BEGIN


def attention(x: Tensor) -> Tensor:
    """Self-attention without weights, of tokens (L, d)."""
    return (x @ x.T).softmax(-1) @ x


def neighbors(x: Tensor) -> Tensor:
    """The same in a mirror and after a turn of the ring, not in any order."""
    return x + x.roll(1, dims=0) + x.roll(-1, dims=0)


def mean_everywhere(x: Tensor) -> Tensor:
    """The mean of all tokens, in the place of each."""
    return x.mean(0).expand_as(x)


def with_positions(x: Tensor) -> Tensor:
    """Attention that knows the order."""
    return attention(x + torch.arange(len(x))[:, None])


def counting(x: Tensor) -> Tensor:
    """The same for any order, so it does not follow the order."""
    return torch.arange(float(x.numel())).view_as(x)


def masked_attention(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder that hides padded cells: x and pos (B, L, d), padding (B, L) bool."""
    scores = (x + pos) @ (x + pos).mT  # (B, L, L)
    return x + scores.masked_fill(padding[:, None], float("-inf")).softmax(-1) @ x


def unmasked(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder that reads padded cells."""
    return masked_attention(x, pos, torch.zeros_like(padding))


def second_layer_unmasked(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder of two layers that forgets the mask in the second."""
    return unmasked(masked_attention(x, pos, padding), pos, padding)


def less_the_mean(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder that reads padded cells through their mean."""
    return x - x.mean(1, keepdim=True)


def each_alone(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder in which no cell reads another."""
    return (x + pos).masked_fill(padding[..., None], 0.0)


def ones(x: Tensor, pos: Tensor, padding: Tensor) -> Tensor:
    """An encoder that reads nothing."""
    return torch.ones_like(x)


class Linear:
    """A head without bias: x (..., d) times a matrix (d, out)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Decode:
    """A decoder with its memory: from query_pos (1, M, d) to (layers, 1, M, d)."""

    def __init__(self, decoder: nn.Module, memory: Tensor, pos: Tensor) -> None:
        self.decoder, self.memory, self.pos = decoder, memory, pos

    def __call__(self, query_pos: Tensor) -> Tensor:
        hs: Tensor = self.decoder(torch.zeros_like(query_pos), query_pos, self.memory, self.pos)
        return hs


class Writer:
    """Logits of the next word that lead through a sentence, if they are given all words so far from BEGIN on."""

    def __init__(self, *sentence: int) -> None:
        self.sentence = sentence

    def __call__(self, words: Sequence[int]) -> Tensor:
        at = len(words) - 1
        known = [BEGIN, *self.sentence[:at]] == list(words) and at < len(self.sentence)
        following = self.sentence[at] if known else 6
        return 2.0 * F.one_hot(torch.tensor(following), 8) - F.one_hot(torch.tensor(7), 8)


class Network(nn.ModuleDict):
    """Layers of which, if there are four, the fourth is frozen, and the second has a gradient from a pass before.

    It keeps that gradient when it is copied or stored; parameters alone do not.
    """

    def __init__(self, *names: str) -> None:
        super().__init__({name: nn.Linear(3, 3) for name in names})
        if len(names) == 4:
            self[names[3]].requires_grad_(False)
        self._leave_a_gradient()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._leave_a_gradient()

    def _leave_a_gradient(self) -> None:
        if len(self) == 4:
            weight = next(list(self.values())[1].parameters())
            weight.grad = torch.ones_like(weight)


class LossOf:
    """The loss of a :class:`Network`: of four layers the second is overwritten and the third silenced."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @torch.enable_grad()
    def __call__(self, module: Any) -> Tensor:
        first, *rest = module.values()
        y = first(self.x)
        if rest:
            overwritten, silenced, frozen = rest
            z = overwritten(y)
            z = silenced(y)
            y = frozen(y + 0 * z)
        loss: Tensor = y.square().sum()
        return loss
