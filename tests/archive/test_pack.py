"""Archives: the same inputs give the same bytes, they serve without torchfinch, and mistakes are found at packing."""

import ast
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from colours import write_colour_run

from torchfinch.archive import ServingConfig, pack_run, read_archive
from torchfinch.errors import TorchfinchError


def pack(run: Path, folder: Path, **options: object) -> Path:
    """Pack `run` as colours 1.0 into a new file of `folder`."""
    return pack_run(run, **{"name": "colours", "version": "1.0", "output": folder / "packed.mar", **options})  # type: ignore[arg-type]


def test_packing_twice_gives_the_same_bytes(colour_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(colour_run, tmp_path / "elsewhere")
    (copy / "model.py").touch()

    first = pack(colour_run, tmp_path).read_bytes()
    second = pack(copy, tmp_path / "other").read_bytes()

    assert first == second


def test_the_manifests_time_is_the_source_date_epoch(
    colour_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")

    assert read_archive(pack(colour_run, tmp_path)).manifest["createdOn"] == "14/11/2023 22:13:20"


def test_the_model_config_is_written_whole(colour_run: Path, tmp_path: Path) -> None:
    serving = ServingConfig(workers=2, batch_size=4, response_timeout=7)
    config = read_archive(pack(colour_run, tmp_path, serving=serving)).config

    assert config["minWorkers"] == config["maxWorkers"] == 2
    assert config["batchSize"] == 4
    assert (config["responseTimeout"], config["startupTimeout"]) == (7, 120)
    assert {"maxBatchDelay", "jobQueueSize"} <= config.keys()
    assert config["handler"]["sdk_version"]


def test_the_layout_is_torch_model_archivers_with_the_sdk_inside(colour_archive: Path) -> None:
    with zipfile.ZipFile(colour_archive) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))

    assert {"classifier.py", "model.py", "weights.safetensors", "index_to_name.json", "lineage.json"} <= names
    assert {"torchfinch/__init__.py", "torchfinch/handler/image_handler.py"} <= names
    assert not [name for name in names if name.startswith("torchfinch/") and "/handler/" not in name][1:]
    assert manifest["runtime"] == "python"
    assert set(manifest["model"].values()) - names == {"colours", "1.0"}


def test_weights_are_never_a_pickle(colour_archive: Path) -> None:
    with zipfile.ZipFile(colour_archive) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pt", ".pth", ".pkl", ".bin"))]
        header_length = int.from_bytes(archive.read("weights.safetensors")[:8], "little")
    assert header_length < 10_000


@pytest.mark.parametrize("handler", [None, Path(__file__).parents[2] / "handlers" / "averaged.py"])
@pytest.mark.parametrize("lost", ["red.png", "blue.png"])
def test_a_golden_request_without_its_file_is_refused(tmp_path: Path, lost: str, handler: Path | None) -> None:
    run = write_colour_run(tmp_path / "run")
    (run / "golden" / lost).unlink()

    with pytest.raises(TorchfinchError, match=rf"golden\.json names '{lost}', which does not lie beside it"):
        pack(run, tmp_path, handler=handler)
    assert not (tmp_path / "packed.mar").exists()


@pytest.mark.parametrize("content", ["[", '[{"file": "red.png"}]', "[1]", "1", '{"file": "red.png"}'])
def test_golden_requests_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    run = write_colour_run(tmp_path / "run")
    (run / "golden" / "golden.json").write_text(content)

    with pytest.raises(TorchfinchError, match=r"golden\.json is broken: "):
        pack(run, tmp_path)


def test_golden_requests_and_lineage_travel_inside(colour_archive: Path) -> None:
    info = read_archive(colour_archive)

    assert [golden.name for golden in info.golden] == ["red.png", "green.png", "blue.png"]
    assert info.golden[2].expected["predicted_class"] == 2
    assert info.lineage["metrics"] == {"test_accuracy": 1.0}
    assert info.labels == ("red", "green", "blue")
    assert len(info.digest) == 64


HANDLERS: dict[str, tuple[str | bytes, str]] = {
    "two classes": ("class A: ...\nclass B: ...\n", "defines 2 classes"),
    "no class": ("x = 1\n", "defines 0 classes"),
    "foreign import": ("from torchfinch.archive import pack_run\nclass A: ...\n", "imports torchfinch.archive"),
    "no Python": ("class A\n", "line 1"),
    "no UTF-8": (b"# f\xfcr alle\nclass A: ...\n", "mine.py"),
    "no text": (b"class A: ...\n\0", "mine.py"),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_that_would_not_load_are_refused(colour_run: Path, tmp_path: Path, name: str) -> None:
    source, message = HANDLERS[name]
    handler = tmp_path / "mine.py"
    handler.write_bytes(source if isinstance(source, bytes) else source.encode())

    with pytest.raises(TorchfinchError, match=message):
        pack(colour_run, tmp_path, handler=handler)
    assert not (tmp_path / "packed.mar").exists()


def test_a_handler_that_would_hide_a_module_is_refused(colour_run: Path, tmp_path: Path) -> None:
    handler = tmp_path / "torch.py"
    handler.write_text("class A: ...\n")

    with pytest.raises(TorchfinchError, match="would hide the module torch"):
        pack(colour_run, tmp_path, handler=handler)


def _change(run: Path, **fields: object) -> None:
    described = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**described, **fields}))


def test_two_classes_of_one_name_are_refused(colour_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(colour_run, tmp_path / "run")
    _change(run, labels=["red", "red", "blue"])

    with pytest.raises(TorchfinchError, match="two classes are called 'red'"):
        pack(run, tmp_path)


def test_a_network_file_that_needs_more_than_torch_is_refused(colour_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(colour_run, tmp_path / "run")
    (run / "model.py").write_text("import timm\n")

    with pytest.raises(TorchfinchError, match=r"model\.py imports timm"):
        pack(run, tmp_path)


@pytest.mark.parametrize("name", ["a/b", "", "../x", "modèle", "a b"])
def test_names_that_cannot_stand_in_a_url_are_refused(colour_run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(TorchfinchError, match="cannot stand in a URL"):
        pack(colour_run, tmp_path, name=name)


@pytest.mark.parametrize("version", ["1/0", "", "1 0", "ü"])
def test_versions_that_cannot_stand_in_a_url_are_refused(colour_run: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(TorchfinchError, match=f"the version '{version}' cannot stand in a URL"):
        pack(colour_run, tmp_path, version=version)


@pytest.mark.parametrize("moment", ["abc", "-1", "1.5", "99999999999999999999"])
def test_a_time_that_is_none_is_refused(
    colour_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", moment)

    with pytest.raises(TorchfinchError, match=f"SOURCE_DATE_EPOCH is '{moment}'"):
        pack(colour_run, tmp_path)


def test_a_folder_without_a_run_is_told_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match="torchfinch train NAME"):
        pack(tmp_path, tmp_path)


def test_settings_of_the_run_reach_the_model_config(colour_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(colour_run, tmp_path / "run")
    _change(run, limits={"max_pixels": 1000}, batch_buckets=[1, 2])
    with zipfile.ZipFile(pack(run, tmp_path)) as archive:
        config = yaml.safe_load(archive.read("model-config.yaml"))

    assert config["handler"]["limits"] == {"max_pixels": 1000}
    assert config["handler"]["batch_buckets"] == [1, 2]


def test_the_sdk_needs_nothing_that_a_plain_torchserve_lacks(colour_archive: Path) -> None:
    with zipfile.ZipFile(colour_archive) as archive:
        sources = [archive.read(name) for name in archive.namelist() if name.startswith("torchfinch/")]
    trees = [ast.parse(source) for source in sources]
    imported = {name.split(".")[0] for tree in trees for node in ast.walk(tree) for name in _imported(node)}

    assert imported - sys.stdlib_module_names - {"torchfinch"} == {"torch", "PIL", "numpy", "captum", "orjson"}
    at_once = {name.split(".")[0] for tree in trees for node in tree.body for name in _imported(node)}
    assert not at_once & {"captum", "orjson"}  # those that it can do without


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else []
