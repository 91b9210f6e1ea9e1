"""A first question to the server before it is loaded, so that a mistake is said at once and once."""

from collections.abc import Iterable
from pathlib import Path

import httpx

from torchfinch.errors import TorchfinchError
from torchfinch.loadtest.run import LoadTest

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def check_target(test: LoadTest) -> None:
    """Send one image.

    Raises:
        TorchfinchError: there is no image, no server, no such model, or the image is refused with a 4xx; a 5xx is the
            test's business.
    """
    image = _first_image(test.images)
    try:
        response = httpx.post(
            f"{test.url}/predictions/{test.model}",
            content=image.read_bytes(),
            timeout=test.request_timeout,
            trust_env=False,
        )
    except httpx.TimeoutException as error:
        message = f"{test.url} did not answer within {test.request_timeout:g} s"
        raise TorchfinchError(message, "are its workers ready? torchfinch ready") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise TorchfinchError(f"no server answers at {test.url} ({error})", "start one: torchfinch serve") from error
    if response.status_code == httpx.codes.NOT_FOUND:
        raise TorchfinchError(f"the server at {test.url} has no model {test.model!r}", "torchfinch models list")
    if response.is_client_error:
        said = " ".join(response.text.split())[:300]
        raise TorchfinchError(
            f"{image} is refused with HTTP {response.status_code}: {said}", "send images that the model takes"
        )


def _first_image(images: Iterable[Path]) -> Path:
    for path in images:
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in found:
            if file.is_file() and (file == path or file.suffix.lower() in SUFFIXES):
                return file
    raise TorchfinchError(f"no image in {', '.join(map(str, images))}", "name image files, or a folder that holds some")
