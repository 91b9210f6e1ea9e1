"""Where a process of a training runs: on a device of its own, which is told where there is none."""

import pytest
import torch

from torchfinch.errors import TorchfinchError
from torchfinch.training.runtime import own_device


@pytest.mark.parametrize(
    ("name", "local_rank", "world", "expected"),
    [
        ("cpu", 0, 1, torch.device("cpu")),
        ("cpu", 3, 4, torch.device("cpu")),
        ("cuda", 0, 1, torch.device("cuda", 0)),
        ("cuda:1", 0, 1, torch.device("cuda", 1)),
        ("cuda", 1, 2, torch.device("cuda", 1)),
        ("cuda", 0, 4, torch.device("cuda", 0)),  # the first process of a second machine
    ],
)
def test_every_process_has_a_device_of_its_own(name: str, local_rank: int, world: int, expected: torch.device) -> None:
    assert own_device(name, local_rank=local_rank, world=world, gpus=2) == expected


@pytest.mark.parametrize(
    ("name", "local_rank", "world", "gpus", "said"),
    [
        ("cuda", 0, 1, 0, "device=cuda: torch sees no GPU .*--set device=cpu"),
        ("cuda:2", 0, 1, 2, "device=cuda:2: there is no GPU 2, torch sees 2 .*cuda:0 to cuda:1"),
        ("cuda", 2, 3, 2, "there is no GPU 2, torch sees 2 .*--nproc-per-node 2"),
        ("cuda:0", 1, 2, 2, "device=cuda:0 is one GPU, and there are 2 processes .*--set device=cuda"),
    ],
)
def test_a_process_without_a_device_is_told(name: str, local_rank: int, world: int, gpus: int, said: str) -> None:
    with pytest.raises(TorchfinchError, match=said):
        own_device(name, local_rank=local_rank, world=world, gpus=gpus)
