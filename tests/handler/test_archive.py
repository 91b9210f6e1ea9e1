"""The network file of an archive."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from colours import NETWORK, write_colour_run
from torch import nn

from torchfinch.archive import pack_run, unpack
from torchfinch.handler import Archive, ArchiveError, ImageClassifier
from torchfinch.testing import FakeContext

DATACLASS = (
    "from __future__ import annotations\n\nfrom dataclasses import dataclass\n"
    + NETWORK
    + "\n\n@dataclass\nclass Settings:\n    sharpness: float = 1.0\n"
)


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Archive]:
    """The colour archive with another network file."""

    def build(network: str) -> Archive:
        run = write_colour_run(tmp_path / "run")
        (run / "model.py").write_text(network)
        folder = tmp_path / "model"
        unpack(pack_run(run, name="colours", version="1.0", output=tmp_path / "x.mar"), folder)
        context = FakeContext(folder)
        return Archive(folder, manifest=context.manifest, config=context.model_yaml_config)

    return build


def test_a_network_file_may_have_dataclasses_with_postponed_annotations(
    unpacked: Callable[[str], Archive],
) -> None:
    network = unpacked(DATACLASS).network()

    assert network(torch.ones(1, 3, 4, 4)).shape == (1, 3)


def test_a_network_can_be_pickled_and_copied(unpacked: Callable[[str], Archive]) -> None:
    network = unpacked(NETWORK).network()

    again = pickle.loads(pickle.dumps(network))

    assert type(again) is type(network)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv.bias": 1}, protocol=2))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(nn.Linear(1, 1), path),
        lambda path: torch.save(nn.Linear(1, 1), path, _use_new_zipfile_serialization=False),
        lambda path: torch.save({1: 2}, path),
        write_pickle,
        Path.touch,
        lambda path: path.write_bytes(b"junk"),
    ],
    ids=["model", "old model", "numbers", "pickle", "empty", "junk"],
)
def test_a_pth_that_is_no_state_dict_is_an_error_of_the_archive(
    unpacked: Callable[[str], Archive], write: Callable[[Path], object]
) -> None:
    archive = unpacked(NETWORK)
    write(archive.folder / "weights.pth")
    manifest = {"model": {**archive.manifest["model"], "serializedFile": "weights.pth"}}

    with pytest.raises(
        ArchiveError, match=r"weights\.pth does not fit ColourNet: (it is no state dict|Invalid magic number)"
    ):
        Archive(archive.folder, manifest=manifest, config=archive.config).network()


def test_broken_safetensors_are_told_as_such(unpacked: Callable[[str], Archive]) -> None:
    archive = unpacked(NETWORK)
    (archive.folder / "weights.safetensors").write_bytes(b"torn")

    with pytest.raises(ArchiveError, match=r"^weights\.safetensors is "):
        archive.network()


def test_networks_of_two_archives_do_not_meet(serve: Callable[..., Any], unpacked: Callable[[str], Archive]) -> None:
    first, _ = serve(ImageClassifier)
    second = unpacked(NETWORK).network()

    assert pickle.loads(pickle.dumps(first.predictor)).__class__ is first.predictor.__class__
    assert type(second) is not type(first.predictor)
