"""What the handlers of `handlers/` change of an answer."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colours import LABELS, colour_image, colour_probabilities
from PIL import Image

from torchfinch.handler import Archive, Predictor
from torchfinch.testing import encode_image, predict

Serve = Callable[..., tuple[Any, Any]]
HANDLERS = Path(__file__).parents[2] / "handlers"


def example(name: str) -> Any:
    """The class of a file in `handlers/`."""
    content = runpy.run_path(str(HANDLERS / f"{name}.py"), run_name=name)
    [found] = [value for value in content.values() if getattr(value, "__module__", None) == name]
    return found


def test_an_averaged_answer_is_the_mean_over_an_image_and_its_mirror_image(serve: Serve) -> None:
    averaged: Any = example("averaged")

    class LeftHalf(averaged):  # type: ignore[misc]
        def load(self, archive: Archive) -> Predictor:
            network = super().load(archive)
            return lambda batch: network(batch[..., :8])

    image = Image.new("RGB", (16, 16), "red")
    image.paste("blue", (8, 0, 16, 16))
    [(status, answer)] = predict(*serve(LeftHalf), encode_image(image), headers={"torchfinch-top-k": "all"})

    red, blue = (colour_probabilities(colour_image(name)) for name in ("red", "blue"))
    assert status == 200
    assert [answer["probabilities"][label] for label in LABELS] == pytest.approx(((red + blue) / 2).tolist(), abs=1e-5)


def test_a_cautious_handler_refuses_an_image_smaller_than_its_network_sees(serve: Serve) -> None:
    handler, context = serve(example("cautious"))

    (refused, error), (narrow, _), (accepted, answer) = predict(
        handler, context, *(colour_image("red", size) for size in ((8, 9), (15, 400), (16, 16)))
    )

    assert (refused, narrow, accepted) == (422, 422, 200)
    assert error["message"] == "the image is 8x9; send at least 16x16 pixels"
    assert answer["label"] == "red"


def test_a_cautious_handler_does_not_name_a_class_that_it_is_unsure_of(serve: Serve) -> None:
    handler, context = serve(example("cautious"))

    (_, unsure), (_, sure) = predict(handler, context, colour_image("grey"), colour_image("blue"))

    assert (unsure["label"], sure["label"]) == ("unknown", "blue")
    assert unsure["confidence"] == pytest.approx(1 / 3, abs=1e-5)
