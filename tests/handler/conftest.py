"""A handler of the unpacked colour archive, in a context that stands for TorchServe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchfinch.archive import unpack
from torchfinch.handler import ImageClassifier
from torchfinch.testing import FakeContext

Served = tuple[Any, FakeContext]


@pytest.fixture(scope="session")
def colour_folder(colour_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked colour archive."""
    folder = tmp_path_factory.mktemp("model")
    unpack(colour_archive, folder)
    return folder


@pytest.fixture
def serve(colour_folder: Path) -> Callable[..., Served]:
    """Initialise a handler class on the colour archive, with settings of `model-config.yaml` replaced."""

    def build(handler: type = ImageClassifier, **settings: Any) -> Served:
        context = FakeContext(colour_folder)
        context.model_yaml_config["handler"] = {**context.model_yaml_config["handler"], **settings}
        instance = handler()
        instance.initialize(context)
        return instance, context

    return build
