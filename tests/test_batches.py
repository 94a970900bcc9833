"""Batches: every picture once, little padding, the same whatever the number of processes."""

import pytest
import torch

from detr_mini.data import BucketSampler, CocoDetection, SeededImages, read_batches, train_transforms
from detr_mini.errors import StorageError
from detr_mini.modeling.nested_tensor import NestedTensor


def epoch(sampler: BucketSampler, number: int = 0, first: int = 0) -> list[list[tuple[int, int]]]:
    sampler.set_epoch(number, first)
    return list(sampler)


def pictures(batches: list[list[tuple[int, int]]]) -> list[list[int]]:
    return [[picture for picture, _ in batch] for batch in batches]


def test_an_epoch_holds_every_picture_once_in_random_order(town):
    sampler = BucketSampler(CocoDetection(town, "train"), 4)
    batches = pictures(epoch(sampler))
    assert sorted(picture for batch in batches for picture in batch) == list(range(32))
    assert len(batches) == len(sampler) == 8
    areas = [float(sampler.order[batch].mean()) for batch in batches]
    assert areas not in (sorted(areas), sorted(areas, reverse=True))


def test_an_epoch_follows_from_the_seed_and_its_number(town):
    dataset = CocoDetection(town, "train")
    sampler = BucketSampler(dataset, 4)
    batches = epoch(sampler)
    torch.manual_seed(77)
    assert epoch(BucketSampler(dataset, 4)) == batches
    assert epoch(BucketSampler(dataset, 4, seed=1)) != batches
    second = epoch(sampler, 1)
    assert second != batches
    assert {seed for batch in second for _, seed in batch}.isdisjoint(seed for batch in batches for _, seed in batch)
    assert epoch(sampler, 0) == batches


def test_batches_pad_little(town):
    dataset = CocoDetection(town, "train")

    def padding(batches: list[list[int]]) -> float:
        return sum(float(NestedTensor.from_images([dataset[i][0] for i in b]).mask.float().mean()) for b in batches)

    shuffled = [batch.tolist() for batch in torch.randperm(32).split(4)]
    assert padding(pictures(epoch(BucketSampler(dataset, 4)))) < 0.6 * padding(shuffled)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 7, 31, 32, 33])
def test_batches_of_an_odd_data_set_differ_by_one_picture_at_most(town, batch_size):
    batches = epoch(BucketSampler(CocoDetection(town, "train"), batch_size))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == -(-32 // batch_size)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_every_batch_without_duplicates(town, world_size):
    dataset = CocoDetection(town, "train")
    whole = epoch(BucketSampler(dataset, 7), 2)
    shares = [epoch(BucketSampler(dataset, 7, rank=r, world_size=world_size), 2) for r in range(world_size)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert all(parts)
        assert sorted(draw for part in parts for draw in part) == sorted(batch)


def test_too_many_processes_for_the_batches(town):
    with pytest.raises(ValueError, match=r"batches of 4 pictures cannot be shared by 5 processes.*now 4"):
        BucketSampler(CocoDetection(town, "train"), 4, world_size=5)


def test_an_epoch_goes_on_where_it_stopped(town):
    sampler = BucketSampler(CocoDetection(town, "train"), 5)
    whole = epoch(sampler, 3)
    for first in (0, 2, len(whole)):
        assert epoch(sampler, 3, first) == whole[first:]
        assert len(sampler) == len(whole) - first


def test_the_augmentation_of_a_picture_follows_from_its_seed(town):
    seeded = SeededImages(CocoDetection(town, "train", train_transforms(None)))
    assert len(seeded) == 32
    first, _ = seeded[3, 5]
    flipped = [not torch.equal(seeded[3, seed][0], first) for seed in range(20)]
    assert True in flipped
    assert False in flipped
    torch.rand(7)
    again, target = seeded[3, 5]
    assert torch.equal(first, again)
    assert target["image_id"] == seeded.dataset.ids[3]


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_killed_while_it_hands_over_is_told_as_a_dead_worker(error):
    def batches():
        yield "one"
        raise error

    read = read_batches(batches())
    assert next(read) == "one"
    with pytest.raises(StorageError, match=r"^a DataLoader worker died \(.+\)\. If workers were killed, fewer of them"):
        next(read)
