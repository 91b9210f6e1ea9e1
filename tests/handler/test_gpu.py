"""What only a machine with a GPU can show."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from colours import colour_image

from torchfinch.handler import ImageClassifier
from torchfinch.testing import FakeContext, predict

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
Serve = Callable[..., tuple[Any, Any]]


def on_gpu(folder: Path, index: int) -> tuple[Any, FakeContext]:
    """The stock classifier as the worker of one GPU."""
    context = FakeContext(folder, gpu_id=index)
    handler = ImageClassifier()
    handler.initialize(context)
    return handler, context


@pytest.mark.parametrize("index", range(torch.cuda.device_count()))
def test_a_worker_uses_the_gpu_that_torchserve_gives_it(colour_folder: Path, index: int) -> None:
    handler, _ = on_gpu(colour_folder, index)

    assert handler.archive.device == torch.device("cuda", index)
    assert {parameter.device.index for parameter in handler.predictor.parameters()} == {index}


def test_answers_equal_those_of_the_cpu(serve: Serve, colour_folder: Path) -> None:
    bodies = [colour_image(name) for name in ("red", "green", "blue", "orange", "grey")]
    on_cpu = predict(*serve(), *bodies)
    answers = predict(*on_gpu(colour_folder, 0), *bodies)

    for (_, expected), (_, answer) in zip(on_cpu, answers, strict=True):
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)


def test_a_poisoned_device_answers_503_and_leaves_the_process(colour_folder: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time, torch
        from pathlib import Path
        from torchfinch.handler import ImageClassifier
        from torchfinch.testing import FakeContext, encode_image, predict
        from PIL import Image

        class Poisoned(ImageClassifier):
            ready = False
            def predict(self, batch):
                if self.ready:
                    torch.zeros(1, device=batch.device)[torch.tensor([9], device=batch.device)].cpu()
                return super().predict(batch)

        context = FakeContext(Path({str(colour_folder)!r}), gpu_id=0)
        handler = Poisoned()
        handler.initialize(context)
        handler.ready = True
        [(status, answer)] = predict(handler, context, encode_image(Image.new("RGB", (20, 20))))
        print(status, answer["type"], flush=True)
        time.sleep(30)
        """
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)

    assert process.stdout.splitlines()[-1] == "503 Unavailable"
    assert process.returncode == 1
