"""A worker for each GPU that TorchServe finds; the GPUs are those of a driver that only says that they are there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.helpers import ROOT, plain_archive

from torchfinch.serving import Instance, ManagementClient

pytestmark = pytest.mark.slow
Start = Callable[..., Instance]
DRIVER = r"""#!/bin/sh
if [ "$1" = -L ]; then printf "GPU 0: nobody's\nGPU 1: nobody's\n"; else printf "index\n0\n1\n"; fi
"""


@pytest.fixture(autouse=True)
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(DRIVER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def workers(management: ManagementClient, model: str) -> dict[str, int]:
    return {each["modelVersion"]: len(each["workers"]) for each in management.describe(model)}


def test_a_model_and_one_that_is_registered_later_get_a_worker_for_each_gpu(start: Start) -> None:
    instance = start()
    instance.management.register("sizes-2.0.mar", gpus=instance.gpus)
    instance.management.register("sizes-1.0.mar", name="few", workers=1, gpus=instance.gpus)

    assert workers(instance.management, "sizes") == {"1.0": 2, "2.0": 2}
    assert workers(instance.management, "few") == {"1.0": 1}


def test_each_of_several_models_has_every_gpu(start: Start) -> None:
    instance = start(models={"colours": "colours.mar", "sizes": "sizes-1.0.mar"})
    for model in ("colours", "sizes"):
        [version] = instance.management.describe(model)
        assert sorted(each["gpuUsage"].split()[0] for each in version["workers"]) == ["gpuId::0", "gpuId::1"]


def test_an_archive_that_keeps_to_the_cpu_or_to_some_gpus_is_not_spread_over_all(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    common = "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 60\nstartupTimeout: 60\n"
    plain_archive(store, "cpu", config=common + "deviceType: cpu\n")
    plain_archive(store, "last", config=common + "deviceType: gpu\ndeviceIds: [1]\n")
    instance = start(models={"cpu": "cpu-1.0.mar", "last": "last-1.0.mar"}, store=store)

    assert instance.gpus == 2
    assert workers(instance.management, "cpu") == workers(instance.management, "last") == {"1.0": 1}


def test_gpus_that_are_hidden_get_no_worker(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")

    assert workers(start().management, "sizes") == {"1.0": 1}


def test_there_are_no_more_gpus_than_the_properties_say(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text((ROOT / "config.properties").read_text() + "\nnumber_of_gpu=0\n")

    assert workers(start(properties=file).management, "sizes") == {"1.0": 1}
