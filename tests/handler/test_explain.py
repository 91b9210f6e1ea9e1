"""Explanations: their own answers, in a batch of their own neighbours."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from colours import colour_image
from PIL import Image

from torchfinch.handler import ImageClassifier, Predictor
from torchfinch.handler.requests import METHODS
from torchfinch.testing import encode_image, predict

Serve = Callable[..., tuple[Any, Any]]
EXPLAIN = {"explain": "True"}


def half_red() -> bytes:
    """Red on the left, black on the right."""
    image = Image.new("RGB", (32, 32), "black")
    image.paste("red", (0, 0, 16, 32))
    return encode_image(image)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_gives_a_number_for_every_pixel_of_the_network(serve: Serve, method: str) -> None:
    handler, context = serve()

    [(status, answer)] = predict(handler, context, half_red(), headers={**EXPLAIN, "torchfinch-method": method})

    assert status == 200
    assert answer["method"] == method
    assert (answer["target"], answer["label"]) == (0, "red")
    assert np.asarray(answer["attributions"]).shape == tuple(answer["shape"]) == (16, 16)


def test_what_speaks_for_a_class_is_where_it_is_seen(serve: Serve) -> None:
    handler, context = serve()

    [(_, answer)] = predict(handler, context, half_red(), headers={**EXPLAIN, "torchfinch-method": "occlusion"})

    attributions = np.asarray(answer["attributions"])
    assert attributions[:, :8].sum() > attributions[:, 8:].sum()


def test_predictions_and_explanations_in_one_batch_get_their_own_answers(serve: Serve) -> None:
    handler, context = serve()
    context.new_batch([{}, EXPLAIN, {}, {**EXPLAIN, "torchfinch-target": "1"}])

    answers = handler.handle([{"body": colour_image(name)} for name in ("red", "blue", "green", "red")], context)

    kinds = ["attributions" if b"attributions" in answer else "probabilities" for answer in answers]
    assert kinds == ["probabilities", "attributions", "probabilities", "attributions"]
    assert b'"target":2' in answers[1]
    assert b'"target":1' in answers[3]


def test_attributions_are_told_with_four_digits(serve: Serve) -> None:
    handler, context = serve()
    noise = encode_image(Image.effect_noise((16, 16), 90).convert("RGB"))

    [(_, answer)] = predict(handler, context, noise, headers=EXPLAIN)

    values = np.asarray(answer["attributions"]).ravel().tolist()
    assert len(set(values)) > 20
    assert values == [float(f"{value:.4g}") for value in values]


def test_an_overlay_is_a_png_of_a_size_to_look_at(serve: Serve) -> None:
    handler, context = serve()
    context.new_batch([{**EXPLAIN, "Accept": "image/png"}])

    [answer] = handler.handle([{"body": half_red()}], context)

    image = Image.open(io.BytesIO(answer))
    assert context.get_response_headers(0)["content-type"] == "image/png"
    assert image.format == "PNG"
    assert min(image.size) >= 224


def test_a_target_that_does_not_exist_is_refused(serve: Serve) -> None:
    handler, context = serve()

    [(status, answer)] = predict(handler, context, half_red(), headers={**EXPLAIN, "torchfinch-target": "3"})

    assert status == 422
    assert answer["message"] == "target is 3; use 0 to 2"


class _NoModule(ImageClassifier):
    def load(self, archive: Any) -> Predictor:
        return partial(super().load(archive))


def test_an_engine_without_gradients_can_be_explained_by_occlusion_alone(serve: Serve) -> None:
    handler, context = serve(_NoModule)

    [(refused, answer)] = predict(handler, context, half_red(), headers={**EXPLAIN, "torchfinch-method": "saliency"})
    [(accepted, _)] = predict(handler, context, half_red(), headers={**EXPLAIN, "torchfinch-method": "occlusion"})

    assert (refused, accepted) == (422, 200)
    assert "use occlusion" in answer["message"]
