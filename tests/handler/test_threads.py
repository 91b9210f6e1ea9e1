"""How many threads a worker uses, and what runs in them."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from colours import colour_image
from torch import Tensor

from torchfinch.handler import ImageClassifier, cores
from torchfinch.testing import FakeContext, predict

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Other tests keep theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the system's control groups."""
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("-1 100000", None),
        ("200000 100000\n", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
    ],
)
def test_a_quota_is_whole_cores(text: str, expected: int | None) -> None:
    assert cores.limit(text) == expected


def test_a_quota_of_more_than_the_machine_has_is_the_machine(groups: Path) -> None:
    (groups / "cpu.max").write_text("6400000 100000\n")

    assert cores.available() == CORES


@pytest.mark.parametrize("text", ["", "max", "two 100000"])
def test_a_file_that_says_something_else_limits_nothing(groups: Path, text: str) -> None:
    (groups / "cpu.max").write_text(text)

    assert cores.available() == CORES


def test_control_groups_of_version_1_are_read_too(groups: Path) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")

    assert cores.available() == 1


@pytest.mark.parametrize(("quota", "workers", "expected"), [("max", 1, CORES), ("max", 99, 1), ("100000", 1, 1)])
def test_torch_and_the_decoder_use_the_cores_that_are_granted(
    groups: Path, colour_folder: Path, quota: str, workers: int, expected: int
) -> None:
    (groups / "cpu.max").write_text(f"{quota} 100000\n")
    context = FakeContext(colour_folder)
    context.model_yaml_config["minWorkers"] = workers
    torch.set_num_threads(CORES + 1)

    handler = ImageClassifier()
    handler.initialize(context)

    assert torch.get_num_threads() == handler._pool._max_workers == expected


def test_images_of_one_batch_are_decoded_in_the_thread_pool(serve: Callable[..., Any]) -> None:
    names = []

    class Watched(ImageClassifier):
        def decode(self, body: bytes) -> Tensor:
            names.append(threading.current_thread().name)
            return super().decode(body)

    handler, context = serve(Watched)
    names.clear()
    predict(handler, context, colour_image("red"), colour_image("blue"))

    assert [name.split("_")[0] for name in names] == ["decode", "decode"]
