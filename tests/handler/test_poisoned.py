"""A device that a forward pass or an explanation left unusable."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from colours import colour_image
from torch import Tensor, nn

from torchfinch.handler import Archive, ImageClassifier, Predictor, Unavailable
from torchfinch.testing import predict

Serve = Callable[..., tuple[Any, Any]]
EXPLAIN = {"explain": "True", "torchfinch-method": "saliency"}
ERROR = "CUDA error: an illegal memory access was encountered"


class _Poisoned(ImageClassifier):
    left = 0

    def predict(self, batch: Tensor) -> Tensor:
        if len(batch) > 1:
            raise RuntimeError(ERROR)
        return super().predict(batch)

    def _device_works(self) -> bool:
        return False

    def _leave(self) -> None:
        self.left += 1

    def _warm_up(self) -> None:
        pass


def test_a_poisoned_device_answers_everyone_and_is_not_tried_again(serve: Serve) -> None:
    handler, context = serve(_Poisoned)

    answers = predict(handler, context, colour_image("red"), colour_image("green"))

    assert [status for status, _ in answers] == [503, 503]
    assert answers[0][1]["type"] == Unavailable.__name__
    assert handler.left == 1


class _FailsWithGradients(ImageClassifier):
    left = 0

    def load(self, archive: Archive) -> Predictor:
        network = archive.network()
        network.register_forward_pre_hook(self._fail)
        return network

    def _fail(self, _: nn.Module, __: Any) -> None:
        if not torch.is_inference_mode_enabled():
            raise RuntimeError(ERROR)

    def _leave(self) -> None:
        self.left += 1


class _PoisonedByGradients(_FailsWithGradients):
    def _device_works(self) -> bool:
        return False


def test_a_device_poisoned_by_an_explanation_is_left_once_all_are_answered(serve: Serve) -> None:
    handler, context = serve(_PoisonedByGradients)
    context.new_batch([{}, EXPLAIN, EXPLAIN, {}])

    answers = handler.handle([{"body": colour_image("red")}] * 4, context)

    assert [context.get_response_status(index)[0] for index in range(4)] == [200, 503, 503, 200]
    assert b"send the request again" in answers[1]
    assert handler.left == 1


def test_an_explanation_that_fails_on_a_device_that_works_is_an_error_of_its_own(serve: Serve) -> None:
    handler, context = serve(_FailsWithGradients)

    [(status, answer)] = predict(handler, context, colour_image("red"), headers=EXPLAIN)

    assert status == 500
    assert ERROR in answer["message"]
    assert handler.left == 0


def test_what_was_counted_is_written_before_the_process_is_left(colour_folder: Path) -> None:
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from torchfinch.handler import ImageClassifier
        from torchfinch.testing import FakeContext, encode_image, predict
        from PIL import Image

        class Poisoned(ImageClassifier):
            def predict(self, batch):
                raise RuntimeError("{ERROR}")
            def _device_works(self):
                return False
            def _warm_up(self):
                pass

        context = FakeContext(Path({str(colour_folder)!r}))
        context.system_properties["server_name"] = "MMS"
        handler = Poisoned()
        handler.initialize(context)
        predict(handler, context, encode_image(Image.new("RGB", (20, 20))))
        time.sleep(30)
        """
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)

    assert process.returncode == 1, process.stderr
    assert "torchfinch_requests_total.count:1.000000|#model:colours,version:1.0,code:503|" in process.stdout
