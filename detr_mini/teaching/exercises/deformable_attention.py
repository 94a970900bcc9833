"""Exercises of the chapter *Deformable attention*."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _masks() -> list[tuple[Tensor]]:
    mask = torch.ones(3, 4, 8, dtype=torch.bool)
    for picture, (rows, columns) in enumerate([(4, 6), (2, 8), (3, 5)]):
        mask[picture, :rows, :columns] = False
    return [(mask,), (mask[:2, :, :7].contiguous(),)]


def _shares(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Real columns and rows of each picture as shares, (B,) each."""
    return (~mask[:, 0]).float().mean(1), (~mask[:, :, 0]).float().mean(1)


@exercise(
    cases=_masks,
    mistakes={
        "Rows come first here: a ratio belongs to a place (x, y), so columns come first.": (
            lambda mask: torch.stack(_shares(mask)[::-1], dim=-1)
        ),
        "This is the share of padding: the mask is True at padding, so count where it is False.": (
            lambda mask: 1 - torch.stack(_shares(mask), dim=-1)
        ),
        "These are numbers of columns and rows: divide them by the width and height of the map.": (
            lambda mask: torch.stack([(~mask[:, 0]).sum(1), (~mask[:, :, 0]).sum(1)], dim=-1).float()
        ),
        "This is the share of all cells, twice: look at one row for x, and at one column for y.": (
            lambda mask: (~mask).float().mean((1, 2))[:, None].expand(-1, 2)
        ),
    },
)
def valid_ratio(mask: Tensor) -> Tensor:
    """Which share of a padded map is picture, in x and in y: mask (B, h, w), True at padding, to (B, 2)."""
    real = ~mask
    return torch.stack([real[:, 0].float().mean(1), real[:, :, 0].float().mean(1)], dim=-1)


def _directions(heads: int, turn: float = 2 * math.pi) -> Tensor:
    angle = torch.arange(heads) * turn / heads
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _on_square(direction: Tensor) -> Tensor:
    return direction / direction.abs().amax(-1, keepdim=True)


def _steps(direction: Tensor, points: int, first: int = 1) -> Tensor:
    return direction[:, None] * torch.arange(first, first + points)[:, None]


@exercise(
    cases=lambda: [(8, 4), (4, 3), (6, 2)],
    mistakes={
        "These points lie on circles: divide each direction by the larger of |x| and |y|.": (
            lambda heads, points: _steps(_directions(heads), points)
        ),
        "The first point lies on the reference itself: begin with one step, not with none.": (
            lambda heads, points: _steps(_on_square(_directions(heads)), points, first=0)
        ),
        "x and y are exchanged: the angle of head 0 is 0, so it looks along x.": (
            lambda heads, points: _steps(_on_square(_directions(heads)), points).flip(-1)
        ),
        "The heads share out half a turn only: 2 pi is a whole one.": (
            lambda heads, points: _steps(_on_square(_directions(heads, math.pi)), points)
        ),
        "All points of a head lie in one place: point p is p steps away.": (
            lambda heads, points: _on_square(_directions(heads))[:, None].expand(-1, points, -1)
        ),
    },
)
def first_offsets(heads: int, points: int) -> Tensor:
    """The offsets of the published start, x and y in cells: (M, P, 2)."""
    angle = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (M, 2)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    return direction[:, None] * torch.arange(1, points + 1)[:, None]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _slopes() -> list[tuple[Tensor, float, float]]:
    cells = _random(4, 6)
    return [(cells, 0.4, 0.6), (cells, 0.3, 0.25), (_random(5, 3, seed=1), 0.55, 0.72)]


def _corner(cells: Tensor, x: float, y: float) -> tuple[int, int, float, float]:
    """The cell at the top left of a place, and how far right and down of its center the place lies."""
    h, w = cells.shape
    across, down = x * w - 0.5, y * h - 0.5
    return int(down), int(across), across - int(across), down - int(down)


def _slope_by_parts(cells: Tensor, x: float, y: float) -> Tensor:
    """In cells: how fast the reading grows to the right and down."""
    top, left, u, v = _corner(cells, x, y)
    a, b, c, d = cells[top : top + 2, left : left + 2].flatten()
    return torch.stack([(1 - v) * (b - a) + v * (d - c), (1 - u) * (c - a) + u * (d - b)])


def _other(change: Callable[[Tensor, Tensor, float, float], Tensor]) -> Callable[..., Tensor]:
    return lambda cells, x, y: change(_slope_by_parts(cells, x, y), cells, x, y)


def _unweighted(cells: Tensor, x: float, y: float) -> Tensor:
    top, left, _, _ = _corner(cells, x, y)
    a, b, c, _ = cells[top : top + 2, left : left + 2].flatten()
    return torch.stack([b - a, c - a]) * torch.tensor([cells.shape[1], cells.shape[0]])


def _corners_aligned(cells: Tensor, x: float, y: float) -> Tensor:
    place = torch.tensor([x, y], requires_grad=True)
    with torch.enable_grad():
        read = F.grid_sample(cells[None, None], (2 * place - 1)[None, None, None], align_corners=True)
        return torch.autograd.grad(read.sum(), place)[0]


@exercise(
    cases=_slopes,
    mistakes={
        "This is the slope for a step of one cell: x is a share of the width, so multiply by w, and y's by h.": (
            _other(lambda slope, cells, x, y: slope)
        ),
        "x and y are exchanged: the first number says what a step to the right changes.": (
            _other(lambda slope, cells, x, y: slope.flip(0) * torch.tensor([cells.shape[1], cells.shape[0]]))
        ),
        "The slope in x got h and the one in y got w: a row has w cells.": (
            _other(lambda slope, cells, x, y: slope * torch.tensor([cells.shape[0], cells.shape[1]]))
        ),
        "Only the upper left cell's neighbors count here: there are two differences, one in each row, to be weighed.": (
            _unweighted
        ),
        "The middle of the first cell was put on the border, as with align_corners=True: it lies at 0.5 / w.": (
            _corners_aligned
        ),
        "The sign is turned round: right less left, and bottom less top.": (
            _other(lambda slope, cells, x, y: -slope * torch.tensor([cells.shape[1], cells.shape[0]]))
        ),
    },
)
def slope(cells: Tensor, x: float, y: float) -> Tensor:
    """The gradient of the reading of a map (h, w) by the place, x and y as shares: (2,). The place is inside."""
    h, w = cells.shape
    across, down = x * w - 0.5, y * h - 0.5
    left, top = int(across), int(down)
    u, v = across - left, down - top
    a, b, c, d = cells[top : top + 2, left : left + 2].flatten()
    by_x = (1 - v) * (b - a) + v * (d - c)
    by_y = (1 - u) * (c - a) + u * (d - b)
    return torch.stack([w * by_x, h * by_y])


def _points() -> list[tuple[Tensor, Tensor, int, int]]:
    rng = draw(0)
    many = torch.rand(12, 2, generator=rng) * 1.4 - 0.2, torch.rand(12, generator=rng)
    same = torch.tensor([[0.5, 0.4], [0.5, 0.4], [0.1, 0.9]]), torch.tensor([0.25, 0.5, 0.25])
    return [(*many, 4, 6), (*same, 5, 3)]


def _spread(
    places: Tensor,
    weights: Tensor,
    h: int,
    w: int,
    *,
    half: float = 0.5,
    nearest: bool = False,
    add: bool = True,
    clamp: bool = False,
) -> Tensor:
    """Every point shares its weight out among the cells around it, with mistakes on request."""
    result = torch.zeros(h, w)
    for (x, y), weight in zip((places * torch.tensor([w, h]) - half).tolist(), weights.tolist(), strict=True):
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                if nearest:
                    share = float(row == math.floor(y + 0.5) and column == math.floor(x + 0.5))
                inside = 0 <= row < h and 0 <= column < w
                if not inside and not clamp:
                    continue
                to = min(max(row, 0), h - 1), min(max(column, 0), w - 1)
                if share:
                    result[to] = weight * share + (result[to] if add else 0)
    return result


@exercise(
    cases=_points,
    mistakes={
        "Each point went to the nearest cell: it shares its weight out among the four cells around it.": (
            lambda places, weights, h, w: _spread(places, weights, h, w, nearest=True)
        ),
        "Where two points touch one cell, only the last counts: their weights add up.": (
            lambda places, weights, h, w: _spread(places, weights, h, w, add=False)
        ),
        "The weight of points outside was moved to the border: outside nothing is read, and their weight is lost.": (
            lambda places, weights, h, w: _spread(places, weights, h, w, clamp=True)
        ),
        "Everything lies half a cell too far right and down: the first cell's center is at 0.5 / w, not at 0.": (
            lambda places, weights, h, w: _spread(places, weights, h, w, half=0.0)
        ),
        "x and y are exchanged: the first number of a place is its column.": (
            lambda places, weights, h, w: _spread(places.flip(-1), weights, h, w)
        ),
        "Every point counts the same here: give it its own weight.": (
            lambda places, weights, h, w: _spread(places, torch.ones_like(weights), h, w)
        ),
    },
)
def points_to_map(places: Tensor, weights: Tensor, h: int, w: int) -> Tensor:
    """How much of each cell is read by points (n, 2), x and y as shares, with weights (n,): (h, w)."""
    x, y = (places * torch.tensor([w, h]) - 0.5).unbind(-1)  # in cells
    right = (1 - (x[:, None] - torch.arange(w)).abs()).clamp(min=0)  # (n, w): of each point for each column
    down = (1 - (y[:, None] - torch.arange(h)).abs()).clamp(min=0)  # (n, h)
    return torch.einsum("n,nh,nw->hw", weights, down, right)
