"""A folder of images: shared out, counted, and rid of what would spoil a result."""

from pathlib import Path

import pytest
import torch
from colours import colour_image

from torchfinch.errors import TorchfinchError
from torchfinch.handler import Preprocessing
from torchfinch.testing import encode_image
from torchfinch.training import image_folder
from torchfinch.training.folder import FolderReport

SMALL = Preprocessing(size=(8, 8))


def noise(seed: int) -> bytes:
    """A PNG of random pixels."""
    from PIL import Image

    chance = torch.Generator().manual_seed(seed)
    return encode_image(Image.fromarray(torch.randint(256, (8, 8, 3), generator=chance, dtype=torch.uint8).numpy()))


def laid(folder: Path, classes: dict[str, int], *, first: int = 0) -> Path:
    """So many different images for each class."""
    for number, (label, count) in enumerate(classes.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / label / f"{index:03}.png").write_bytes(noise(first + 1000 * number + index))
    return folder


def test_every_part_has_its_share_of_every_class(tmp_path: Path) -> None:
    data, report = image_folder(laid(tmp_path, {"cat": 20, "dog": 40}), preprocessing=SMALL, validation=0.2, test=0.1)

    assert data.labels == ("cat", "dog")
    assert report.counts == {"cat": (14, 4, 2), "dog": (28, 8, 4)}
    assert next(iter(report.lines())) == "cat: 20 images (14 train, 4 validation, 2 test)"


def test_given_parts_are_kept(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "validation", "test")):
        laid(tmp_path / part, {"cat": 3 - number, "dog": 2}, first=100 * number)
    _, report = image_folder(tmp_path, preprocessing=SMALL)

    assert report.counts == {"cat": (3, 2, 1), "dog": (2, 2, 2)}


def test_a_double_is_left_out_also_between_given_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "validation", "test")):
        laid(tmp_path / part, {"cat": 2, "dog": 2}, first=100 * number)
    (tmp_path / "test" / "cat" / "again.png").write_bytes(noise(0))
    data, report = image_folder(tmp_path, preprocessing=SMALL)

    assert report.counts["cat"] == (2, 2, 2)
    [(double, original)] = report.duplicates
    assert (double, original) == (tmp_path / "test/cat/again.png", tmp_path / "train/cat/000.png")
    assert data.train is not None


def test_one_image_in_two_classes_is_believed_in_neither(tmp_path: Path) -> None:
    folder = laid(tmp_path, {"cat": 10, "dog": 10})
    (folder / "dog" / "a-cat.png").write_bytes(noise(3))
    _, report = image_folder(folder, preprocessing=SMALL)

    assert (sum(report.counts["cat"]), sum(report.counts["dog"])) == (9, 10)
    assert report.contradictions == ((folder / "dog/a-cat.png", folder / "cat/003.png"),)


def test_a_file_that_is_no_image_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    folder = laid(tmp_path, {"cat": 10, "dog": 10})
    (folder / "dog" / "torn.jpg").write_bytes(colour_image("red")[:40])
    _, report = image_folder(folder, preprocessing=SMALL)

    assert next(line for line in report.lines() if "torn.jpg" in line).startswith("left out, no image: ")
    assert sum(report.counts["dog"]) == 10


def test_a_long_list_of_trouble_is_cut() -> None:
    report = FolderReport({}, (), (), tuple(f"{number}.png: torn" for number in range(9)))

    assert list(report.lines(most=2))[-1] == "... and 7 more"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"cat": 10}, "holds 1 folders of images, and telling classes apart takes two"),
        ({"cat": 10, "dog": 2}, r"dog holds 2 images; a class needs three"),
        ({"cat": 3, "dog": 3}, r"is too small to share out: "),
    ],
)
def test_too_little_is_told(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(TorchfinchError, match=message):
        image_folder(laid(tmp_path, classes), preprocessing=SMALL)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match="nowhere cannot be read: No such file"):
        image_folder(tmp_path / "nowhere", preprocessing=SMALL)


def test_more_images_than_memory_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match=r"6 images of 900000 x 900000 pixels need .* GB of memory"):
        image_folder(laid(tmp_path, {"cat": 3, "dog": 3}), preprocessing=Preprocessing(size=(900_000, 900_000)))
