"""Other numbers for the exercises from chapter 12 on whose cases are written out; see ``variants``."""

from random import Random

import torch
from torch import Tensor

from detr_mini.classroom.variants import Cases, boxes, floats, mask, sizes, varies

# --- chapters 12 to 15: Loss, DETR in one page, Training, Evaluation


@varies("loss.eos_for_share")
def _shares_of_weight(rng: Random) -> Cases:
    counts = [(rng.randrange(20, 300), rng.randint(1, 19)) for _ in range(4)]
    return [(queries, objects, round(rng.uniform(0.1, 0.9), 2)) for queries, objects in counts]


def _some_state(rng: Random) -> dict[str, Tensor]:
    from detr_mini.teaching.exercises import one_page

    d, queries = rng.sample(range(3, 40), 2)
    return one_page._state(d, queries, rng.randint(2, 30), rng.randint(3, 8))


@varies("one_page.count_numbers")
def _counted(rng: Random) -> Cases:
    return [(_some_state(rng), "transformer.decoder."), (_some_state(rng), "class_embed.")]


@varies("one_page.split_projection")
def _projections(rng: Random) -> Cases:
    return [(floats(rng, (12, 4), -9, 9),)]


@varies("one_page.read_sizes")
def _checkpoints(rng: Random) -> Cases:
    return [(_some_state(rng),) for _ in range(3)]


@varies("one_page.answers")
def _predictions(rng: Random) -> Cases:
    logits = floats(rng, (6, 4), -2, 4)
    found = boxes(rng, 6)
    found[2, :2] = torch.tensor([0.97, 0.04])  # reaches out
    logits[2] = torch.tensor([0.0, 1.0, 5.0, 0.0])
    height, width = rng.sample(range(50, 300, 10), 2)
    return [(logits, found, height, width, threshold) for threshold in (0.4, 0.0, 0.999)]


@varies("train.three_groups")
def _names(rng: Random) -> Cases:
    from detr_mini.teaching.exercises import train

    ((names,),) = train.three_groups.cases()
    layer = rng.randint(1, 5)
    more = [f"transformer.decoder.layers.{layer}.norm1.bias", f"backbone.0.body.layer{rng.randint(2, 4)}.1.bn1.weight"]
    return [(rng.sample([*names, *more], len(names) + 2),)]


@varies("train.fair_losses")
def _processes(rng: Random) -> Cases:
    some = [(floats(rng, (count,), 1, 9), torch.tensor(rng.choices(range(1, 15), k=count))) for count in (3, 2)]
    few = floats(rng, (3,), 1, 9, digits=1), torch.tensor([1, 0, 0])
    return [*some, (torch.zeros(2), torch.tensor([0, 0])), few]


@varies("evaluate.precision_recall")
def _rankings(rng: Random) -> Cases:
    found = []
    for _ in range(2):
        scores = torch.tensor(sorted((step / 20 for step in rng.sample(range(4, 20), 8)), reverse=True))
        hits = torch.tensor(rng.choices([False, True], k=8))
        found.append((scores, hits, int(hits.sum()) + rng.randint(1, 5), float(scores[rng.randint(3, 5)])))
    return found


@varies("evaluate.average_precision")
def _hits(rng: Random) -> Cases:
    found = []
    for count in (10, 6, 30):
        hits = torch.tensor(rng.choices([False, True], k=count))
        found.append((hits, int(hits.sum()) + rng.randint(1, 4)))
    return found


@varies("evaluate.verdicts")
def _pictures(rng: Random) -> Cases:
    """The book's pictures with boxes of their own: each hit or miss is moved a little, and some are left out."""
    from detr_mini.teaching.exercises import evaluate

    found = []
    for given, objects, crowd, level in evaluate.verdicts.cases():
        kept = sorted(rng.sample(range(len(given)), len(given) - 1))
        extra = objects[rng.randrange(4)] + rng.randint(-3, 3)
        at = rng.randint(0, len(kept))
        mixed = torch.cat([given[kept[:at]], extra[None], given[kept[at:]]]) + floats(rng, (len(given), 4), -0.4, 0.4)
        found.append((mixed, objects, crowd, level))
    return found


# --- chapters 16 to 18: What queries learn, Attention maps, Ablations


@varies("slots.kinds")
def _kinds(rng: Random) -> Cases:
    found = boxes(rng, 12)
    found[:, 2:] = floats(rng, (12, 2), 0.05, 0.95)
    found[:4, 2:] = floats(rng, (4, 2), 0.05, 0.25)
    limits = torch.tensor([[0.5, 0.5, 0.48, 0.125], [0.5, 0.5, 0.125, 0.24]])
    return [(torch.cat([found, limits])[rng.sample(range(14), 14)],), (found[:3],)]


@varies("slots.duplicates")
def _reports(rng: Random) -> Cases:
    found = []
    for _ in range(4):
        true = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.4, 0.3], [0.2, 0.8, 0.1, 0.1]])
        true[:, :2] += floats(rng, (3, 2), -0.05, 0.05)
        labels = torch.tensor(rng.choices(range(5), k=3))
        said = torch.cat([labels, labels, torch.tensor(rng.choices(range(5), k=3))])
        sure = torch.tensor([rng.choice((0.2, 0.4, 0.7, 0.8, 0.9, 0.9)) for _ in range(9)])
        p = ((1 - sure) / 6)[:, None].repeat(1, 6)
        p[torch.arange(9), said] = sure + (1 - sure) / 6
        found.append((p, torch.cat([true, true + 0.01, true]), labels, true))
    return found


@varies("ablations.spread_between_seeds")
def _runs(rng: Random) -> Cases:
    def row(count: int) -> list[float]:
        return [round(rng.uniform(0.1, 0.6), 2) for _ in range(count)]

    return [([row(2), row(rng.randint(3, 4)), row(1)],), ([row(4), row(2)],)]


@varies("ablations.verdict")
def _comparisons(rng: Random) -> Cases:
    def runs() -> list[float]:
        return [round(rng.uniform(0.3, 0.42), 2) for _ in range(rng.choice((1, 2, 2, 4)))]

    return [(runs(), runs(), rng.choice((0.02, 0.03, 0.04))) for _ in range(14)]


@varies("ablations.recall_ceiling")
def _scenes(rng: Random) -> Cases:
    found: Cases = []
    for queries in (5, 20, 10):
        objects = torch.tensor(rng.choices(range(16), k=5))
        objects[rng.randrange(5)] = 6 + rng.randint(0, 20)
        found.append((objects, queries))
    return found


# --- chapters 19 to 21: Deformable attention, Deformable DETR, Panoptic segmentation


@varies("deformable_attention.valid_ratio")
def _ratios(rng: Random) -> Cases:
    return [(mask(*sizes(rng, 3, high=6), frame=(7, 9)),), (mask(*sizes(rng, 2, high=6), frame=(6, 7)),)]


@varies("deformable_attention.first_offsets")
def _stars(rng: Random) -> Cases:
    return [(heads, rng.randint(2, 5)) for heads in rng.sample(range(3, 11), 3)]


@varies("deformable_detr.proposals")
def _maps(rng: Random) -> Cases:
    few = [(rng.randint(2, 4), rng.randint(5, 7)), (2, 3)]
    many = [(rng.randint(55, 80), rng.randint(55, 80)), *sizes(rng, 5, high=4)]
    return [(few,), (many,)]


@varies("panoptic.read_ids")
def _colors(rng: Random) -> Cases:
    def picture(*shape: int) -> Tensor:
        return torch.tensor([rng.randrange(256) for _ in range(torch.Size(shape).numel())]).reshape(shape)

    return [(picture(2, 3, 3).to(torch.uint8),), (picture(3, 2, 3).to(torch.uint8),)]


@varies("panoptic.one_slot_a_pixel")
def _sure_slots(rng: Random) -> Cases:
    """The book's, mirrored or not, with other numbers for the kinds; the last one is drawn."""
    from detr_mini.teaching.exercises import panoptic

    found: Cases = []
    for logits, labels, stuff in panoptic.one_slot_a_pixel.cases():
        kinds = dict(zip(range(1, 10), rng.sample(range(1, 60), 9), strict=True))
        turned = logits.flip([axis for axis in (1, 2) if rng.random() < 0.5])
        found.append((turned, torch.tensor([kinds[kind] for kind in labels.tolist()]), {kinds[kind] for kind in stuff}))
    return rng.sample(found, len(found))


@varies("panoptic.pq")
def _strips(rng: Random) -> Cases:
    found: Cases = []
    for _ in range(3):
        true = torch.tensor([sorted(rng.choices(range(4), k=12))])
        said = torch.where(torch.tensor([rng.choices([True, False], [3, 1], k=12)]), true + 4, true.roll(1) * 2)
        found.append((said, true))
    one, two, three, four = rng.sample(range(1, 50), 4)
    half = torch.tensor([[one, one, one, one, two, two]]), torch.tensor([[three, three, 0, 0, four, four]])
    return [*found, half, (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64))]
