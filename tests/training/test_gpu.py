"""What only a machine with a GPU can show of a training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from training.helpers import DATA, Small, fitted, flat

from torchfinch.training import Checkpoints, Data, FitSettings
from torchfinch.training.runtime import running

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_fit_on_the_gpu_learns_in_any_precision(amp: str) -> None:
    _, history = fitted(epochs=20, learning_rate=0.1, device="cuda", amp=amp, channels_last=True)

    assert history[-1].train_loss < 0.5


def test_in_full_precision_the_gpu_learns_what_the_cpu_learns() -> None:
    models = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        models.append(fitted(Small(dropout=0), epochs=2, device=device)[0].cpu())

    torch.testing.assert_close(flat(models[1]), flat(models[0]), atol=1e-4, rtol=1e-3)


def test_a_training_on_the_gpu_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    def model() -> Small:
        torch.manual_seed(0)
        return Small()

    settings: dict[str, Any] = {"epochs": 4, "device": "cuda", "amp": "fp16", "ema": 0.9}
    whole, _ = fitted(model(), **settings)
    checkpoints = Checkpoints(tmp_path, identity={})
    with pytest.raises(KeyboardInterrupt):
        fitted(model(), _interrupted(after=2 * 4), checkpoints=checkpoints, **settings)
    resumed, history = fitted(model(), checkpoints=checkpoints, resume=True, **settings)

    assert len(history) == 4
    torch.testing.assert_close(flat(resumed), flat(whole), atol=1e-3, rtol=1e-2)


def test_a_checkpoint_has_the_chance_of_its_own_gpu_and_goes_on_wherever_that_is(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, identity={})
    fitted(epochs=1, device="cuda", checkpoints=checkpoints)

    [chance] = checkpoints.load()["chance"]
    assert torch.is_tensor(chance["cuda"])
    fitted(epochs=2, device=f"cuda:{torch.cuda.device_count() - 1}", checkpoints=checkpoints, resume=True)
    fitted(epochs=3, device="cpu", checkpoints=checkpoints, resume=True)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # inside torch 2.11
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")
def test_a_compiled_network_learns_on_the_gpu() -> None:
    _, history = fitted(Small(), epochs=20, learning_rate=0.1, device="cuda", compile=True)

    assert history[-1].train_loss < 0.5


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_the_second_gpu_is_the_current_one_while_it_trains() -> None:
    with running(FitSettings(device="cuda:1")):
        assert torch.cuda.current_device() == 1
    assert torch.cuda.current_device() == 0


def _interrupted(*, after: int) -> Data:
    seen: list[int] = []

    def stop(pixels: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
        seen.append(len(pixels))
        if len(seen) > after:
            raise KeyboardInterrupt
        return pixels

    return Data(labels=DATA.labels, train=DATA.train, validation=DATA.validation, augment=stop)
