"""Images by index, parts with the same share of every class, and what a recipe may not return."""

import pytest
import torch

from torchfinch.training import Data, Images, split, unique_labels


def images(*counts: int) -> Images:
    """As many images of each class as `counts` says, each of its own brightness."""
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Images(torch.arange(len(targets), dtype=torch.uint8).view(-1, 1, 1, 1), targets)


def test_an_index_takes_images_with_their_classes() -> None:
    part = images(3, 2)[torch.tensor([4, 0])]

    assert part.pixels.flatten().tolist() == [4, 0]
    assert part.targets.tolist() == [1, 0]


def test_parts_share_no_image_and_hold_the_same_share_of_every_class() -> None:
    whole = images(100, 50)
    parts = split(whole, validation=0.2, test=0.1, seed=0)

    assert [torch.bincount(part.targets).tolist() for part in parts] == [[70, 35], [20, 10], [10, 5]]
    assert sorted(torch.cat([part.pixels.flatten() for part in parts]).tolist()) == list(range(150))


def test_the_only_image_of_a_class_is_learnt_from() -> None:
    parts = split(images(40, 40, 1), validation=0.2, test=0.2, seed=0)

    assert [torch.bincount(part.targets, minlength=3).tolist() for part in parts] == [[24, 24, 1], [8, 8, 0], [8, 8, 0]]


def test_a_split_is_fixed_by_its_seed() -> None:
    first, same, other = (split(images(40, 40), validation=0.2, test=0.2, seed=seed)[0] for seed in (1, 1, 2))

    assert torch.equal(first.pixels, same.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_a_split_takes_any_seed_that_torch_takes() -> None:
    whole = images(40, 40)
    grouped = Images(whole.pixels, whole.targets, torch.arange(80) // 2)

    for each in (whole, grouped):
        assert [len(part) for part in split(each, validation=0.2, test=0.2, seed=2**64 - 1)] == [48, 16, 16]


@pytest.mark.parametrize(
    ("pixels", "targets", "message"),
    [
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), "pixels are float32"),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"shape \(2, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"int64 of shape \(2,\)"),
    ],
)
def test_images_of_another_kind_are_refused(pixels: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Images(pixels, targets)


def test_a_target_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="targets reach 2, but there are 2 labels"):
        Data(labels=("a", "b"), train=images(1, 1, 1))


def test_two_classes_of_one_name_are_refused_and_can_be_numbered() -> None:
    names = ["crane", "dog", "crane"]

    with pytest.raises(ValueError, match=r"\['crane'\]; unique_labels"):
        Data(labels=tuple(names))
    assert Data(labels=unique_labels(names)).labels == ("crane", "dog", "crane (2)")


def test_a_numbered_name_that_exists_already_stays_unique() -> None:
    names = ["crane", "crane (2)", "crane"]

    assert len(set(unique_labels(names))) == 3


def test_the_digest_changes_with_any_image_class_or_label() -> None:
    parts = images(3, 2)
    darker = Images(parts.pixels.clone(), parts.targets)
    darker.pixels[0] = 9
    datas = [
        Data(labels=("a", "b"), train=parts),
        Data(labels=("a", "c"), train=parts),
        Data(labels=("a", "b"), train=darker),
        Data(labels=("a", "b"), train=Images(parts.pixels, parts.targets.flip(0))),
        Data(labels=("a", "b"), train=parts, test=parts),
    ]

    assert len({data.digest() for data in datas}) == len(datas)
    assert datas[0].digest() == Data(labels=("a", "b"), train=images(3, 2)).digest()
    assert Data(labels=("a",)).digest() is None


def test_images_of_one_group_are_shared_out_together() -> None:
    groups = torch.arange(40) // 4
    images = Images(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), torch.arange(40) % 2, groups)
    parts = split(images, validation=0.2, test=0.2, seed=0)
    found = [set(part.groups.tolist()) for part in parts if part.groups is not None]

    assert [len(part) for part in parts] == [24, 8, 8]
    assert sum(map(len, found)) == len(set.union(*found)) == 10


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups are int64 of shape \(3,\); give int64 of shape \(2,\)"):
        Images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), torch.arange(3))


def test_a_part_without_images_is_none() -> None:
    train, validation, test = split(images(4, 4), validation=0.25, test=0, seed=0)

    assert Data(labels=("a", "b"), train=train, validation=validation, test=test).test is None


def test_a_label_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label 'caf\\udce9' is no UTF-8; rename it"):
        Data(labels=("tea", b"caf\xe9".decode(errors="surrogateescape")))
