"""A folder of images: shared out, counted, and rid of what would spoil a result."""

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import colour_image
from sklearn.model_selection import cross_val_score
from torch.utils._python_dispatch import TorchDispatchMode

from torchfinch.errors import TorchfinchError
from torchfinch.evaluation.folder import FolderImages, read_folder
from torchfinch.handler import Preprocessing
from torchfinch.testing import encode_image
from torchfinch.training import folder, image_folder
from torchfinch.training.estimator import RecipeClassifier
from torchfinch.training.folder import FolderReport

SMALL = Preprocessing(size=(8, 8))


def noise(seed: int) -> bytes:
    """A PNG of random pixels."""
    from PIL import Image

    chance = torch.Generator().manual_seed(seed)
    return encode_image(Image.fromarray(torch.randint(256, (8, 8, 3), generator=chance, dtype=torch.uint8).numpy()))


def laid(root: Path, classes: dict[str, int], *, first: int = 0) -> Path:
    """So many different images for each class."""
    for number, (label, count) in enumerate(classes.items()):
        (root / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / label / f"{index:03}.png").write_bytes(noise(first + 1000 * number + index))
    return root


def test_every_part_has_its_share_of_every_class(tmp_path: Path) -> None:
    data, report = image_folder(laid(tmp_path, {"cat": 20, "dog": 40}), preprocessing=SMALL, validation=0.2, test=0.1)

    assert data.labels == ("cat", "dog")
    assert report.counts == {"cat": (14, 4, 2), "dog": (28, 8, 4)}
    assert next(iter(report.lines())) == "cat: 20 images (14 train, 4 validation, 2 test)"


class Pixels(TorchDispatchMode):
    """The most bytes of images that were alive at once, beyond those that were there before."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most, self.before = 0, self.alive()

    @staticmethod
    def alive() -> int:
        images = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.ndim == 4]
        return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in images}.values())

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim == 4:
            self.most = max(self.most, self.alive() - self.before)
        return result


@pytest.mark.parametrize("given", [(), ("train", "val", "test")], ids=["shared out", "given parts"])
def test_memory_never_holds_an_image_more_than_twice(tmp_path: Path, given: tuple[str, ...]) -> None:
    for number, part in enumerate(given or (".",)):
        laid(tmp_path / part, {"cat": 20, "dog": 20}, first=100 * number)
    with Pixels() as pixels:
        data, _ = image_folder(tmp_path, preprocessing=SMALL)
    parts = [part.pixels.nbytes for part in (data.train, data.validation, data.test) if part]

    assert sum(parts) <= pixels.most <= 2 * sum(parts)


def test_given_parts_are_kept(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "validation", "test")):
        laid(tmp_path / part, {"cat": 3 - number, "dog": 2}, first=100 * number)
    _, report = image_folder(tmp_path, preprocessing=SMALL)

    assert report.counts == {"cat": (3, 2, 1), "dog": (2, 2, 2)}


@pytest.mark.parametrize("usual", ["val", "valid"])
def test_the_usual_names_of_validation_are_understood(tmp_path: Path, usual: str) -> None:
    for number, part in enumerate(("train", usual, "test")):
        laid(tmp_path / part, {"cat": 3 - number, "dog": 2}, first=100 * number)
    data, report = image_folder(tmp_path, preprocessing=SMALL)

    assert data.labels == ("cat", "dog")
    assert report.counts == {"cat": (3, 2, 1), "dog": (2, 2, 2)}


@pytest.mark.parametrize(
    ("given", "counts"), [("val", (16, 5, 4)), ("test", (16, 4, 5))], ids=["without test", "without validation"]
)
def test_a_part_that_is_not_given_is_cut_from_train(tmp_path: Path, given: str, counts: tuple[int, int, int]) -> None:
    laid(tmp_path / "train", {"cat": 20, "dog": 20})
    laid(tmp_path / given, {"cat": 5, "dog": 5}, first=100)
    _, report = image_folder(tmp_path, preprocessing=SMALL, validation=0.2, test=0.2)

    assert report.counts == {"cat": counts, "dog": counts}


def test_a_class_may_be_called_as_a_part(tmp_path: Path) -> None:
    data, _ = image_folder(laid(tmp_path, {"bus": 10, "train": 10}), preprocessing=SMALL)

    assert data.labels == ("bus", "train")


def test_a_folder_beside_the_parts_is_told(tmp_path: Path) -> None:
    for part in ("train", "val", "more"):
        laid(tmp_path / part, {"cat": 3, "dog": 3})
    with pytest.raises(TorchfinchError, match=r"holds train, val, which are parts, and more .*move it away"):
        image_folder(tmp_path, preprocessing=SMALL)


def test_images_are_found_however_deep_they_lie_but_not_where_they_are_hidden(tmp_path: Path) -> None:
    laid(tmp_path / "cat", {"2024": 4, "2025/june": 3, ".thumbnails": 5})
    laid(tmp_path, {"dog": 10}, first=10_000)
    _, report = image_folder(tmp_path, preprocessing=SMALL)

    assert sum(report.counts["cat"]) == 7


RECIPE = """
from pathlib import Path
from torch import nn
from torchfinch.handler import Preprocessing
from torchfinch.training import FitSettings, image_folder

class Config(FitSettings):
    folder: Path

def build(config):
    preprocessing = Preprocessing(size=(8, 8))
    data, _ = image_folder(config.folder, preprocessing=preprocessing)
    return data, nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), preprocessing
"""


def test_folds_in_one_process_read_a_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(RECIPE)
    photos = laid(tmp_path / "photos", {"cat": 20, "dog": 20})
    read: list[Path] = []

    def counted(root: Path, **named: Any) -> FolderImages:
        read.append(root)
        return read_folder(root, **named)

    monkeypatch.setattr(folder, "read_folder", counted)
    images, targets = np.zeros((12, 3, 8, 8), np.uint8), np.arange(12) % 2
    estimator = RecipeClassifier(tmp_path / "mine.py", {"folder": str(photos), "epochs": 1, "keep": "final"})
    cross_val_score(estimator, images, targets, cv=3)

    assert read == [photos]
    assert capsys.readouterr().err.count("cat: 20 images") == 1


def test_a_folder_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    photos = laid(tmp_path, {"cat": 10, "dog": 10})
    first, _ = image_folder(photos, preprocessing=SMALL)
    (photos / "cat" / "new.png").write_bytes(noise(77))
    second, report = image_folder(photos, preprocessing=SMALL)

    assert first.train is not second.train
    assert sum(report.counts["cat"]) == 11


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
    photos = laid(tmp_path, {"cat": 10, "dog": 10})
    (photos / "dog" / "a-cat.png").write_bytes(noise(3))
    _, report = image_folder(photos, preprocessing=SMALL)

    assert (sum(report.counts["cat"]), sum(report.counts["dog"])) == (9, 10)
    assert report.contradictions == ((photos / "dog/a-cat.png", photos / "cat/003.png"),)


def test_a_file_that_is_no_image_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    photos = laid(tmp_path, {"cat": 10, "dog": 10})
    (photos / "dog" / "torn.jpg").write_bytes(colour_image("red")[:40])
    _, report = image_folder(photos, preprocessing=SMALL)

    assert next(line for line in report.lines() if "torn.jpg" in line).startswith("left out, no image: ")
    assert sum(report.counts["dog"]) == 10


def test_a_long_list_of_trouble_is_cut() -> None:
    report = FolderReport({}, (), (), tuple(f"{number}.png: torn" for number in range(9)))

    assert list(report.lines(most=2))[-1] == "... and 7 more"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"cat": 10}, "holds 1 folders of images, and telling classes apart takes two"),
        ({"cat": 10, "dog": 2}, r"dog holds 2 images; a class needs 3, one for each part"),
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


def test_reading_images_in_threads_leaves_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    laid(tmp_path, {"cat": 80, "dog": 80})
    before = list(warnings.filters)
    for _ in range(3):
        read_folder(tmp_path, labels=("cat", "dog"), preprocessing=SMALL)

    assert list(warnings.filters) == before
