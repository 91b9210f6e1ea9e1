"""A real TorchServe whose worker sits on a GPU."""

from collections.abc import Callable

import httpx
import pytest
import torch
from colours import colour_image

from torchfinch.serving import Instance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_torchserve_places_a_worker_on_the_gpu_and_it_answers(start: Callable[..., Instance]) -> None:
    instance = start(models={"colours": "colours.mar"})
    [version] = instance.management.describe("colours")
    answer = httpx.put(f"{instance.inference_url}/predictions/colours", content=colour_image("red"), timeout=60)

    assert [worker["gpu"] for worker in version["workers"]] == [True]
    assert (answer.status_code, answer.json()["label"]) == (200, "red")


def test_the_handler_of_a_worker_on_the_gpu_names_its_device(start: Callable[..., Instance]) -> None:
    instance = start(models={"colours": "colours.mar"})
    [version] = instance.management.describe("colours", customized=True)

    assert version["customizedMetadata"]["engine"] == f"torch {torch.__version__} on cuda:0"
