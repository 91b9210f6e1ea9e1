"""A worker whose device is gone, under a real TorchServe."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from colours import colour_image
from serving.helpers import workers_of
from waiting import within

from torchfinch.archive import pack_run
from torchfinch.release.exposition import samples
from torchfinch.serving import Client, Instance

pytestmark = pytest.mark.slow
HANDLER = """
from pathlib import Path

from torchfinch.handler import ImageClassifier

POISON = Path({poison!r})


class Poisoned(ImageClassifier):
    def predict(self, batch):
        if POISON.exists():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().predict(batch)

    def _device_works(self):
        return not POISON.exists()
"""


def counted(instance: Instance) -> dict[str, float]:
    """Answers by status, as the server's metrics tell."""
    page = samples(httpx.get(instance.metrics_url, trust_env=False).text)
    return {each.labels["code"]: each.value for each in page if each.name == "torchfinch_requests_total"}


def test_a_worker_whose_device_is_gone_answers_and_another_one_takes_over(
    start: Callable[..., Instance], colour_run: Path, tmp_path: Path
) -> None:
    poison, handler = tmp_path / "poison", tmp_path / "poisoned.py"
    handler.write_text(HANDLER.format(poison=str(poison)))
    pack_run(colour_run, name="poisoned", version="1.0", output=tmp_path / "store" / "p.mar", handler=handler)
    instance = start(models={"poisoned": "p.mar"}, store=tmp_path / "store")
    [before] = workers_of(instance, "poisoned")
    assert within(20, lambda: counted(instance).get("503") == 0)  # a series that is there before the first request

    with Client(instance.inference_url) as client:
        assert client.predict("poisoned", colour_image("red")).status == 200
        poison.touch()
        answer = client.predict("poisoned", colour_image("red"))
        poison.unlink()
        assert (answer.status, answer.content["type"]) == (503, "Unavailable")
        assert within(60, lambda: before not in workers_of(instance, "poisoned"))
        assert within(120, lambda: client.predict("poisoned", colour_image("red")).status == 200)
        assert before not in workers_of(instance, "poisoned")

    assert within(20, lambda: counted(instance).get("200", 0) >= 2)
    assert counted(instance)["503"] == 1  # written before the worker left
