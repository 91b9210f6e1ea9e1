"""Pack a run folder into a `.mar`: the same inputs give the same bytes, and it serves where no torchfinch is.

The layout is torch-model-archiver's. The SDK's leaf package is copied into the archive, which stands on the worker's
path before anything installed, so old archives keep working whatever version the server has.
"""

import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

import torchfinch
from torchfinch.archive import sources
from torchfinch.archive.read import DIGESTS, GOLDEN, MANIFEST
from torchfinch.archive.recording import recorded
from torchfinch.archive.serving import ServingConfig
from torchfinch.errors import TorchfinchError
from torchfinch.files import replacing
from torchfinch.project import project_file

FORMAT = 1
"""Version of what torchfinch adds to TorchServe's archive."""
_WEIGHTS = "weights.safetensors"
_FIRST, _LAST = 315532800, 4354819199  # zip files know the years 1980 to 2107


def pack_run(
    run: Path,
    *,
    name: str,
    version: str,
    output: Path,
    handler: Path | None = None,
    extra: Sequence[Path] = (),
    serving: ServingConfig | None = None,
) -> Path:
    """Pack the run folder `run` as model `name` in `version` into the file `output`, and return that path.

    A run folder holds `model.py`, `weights.safetensors`, `model.json` and `golden/`. `handler` is a Python file with
    one class; without it the stock classifier, or regressor, is packed. `extra` are files that it imports or reads,
    which lie beside it. A handler of one's own answers the golden requests once, in a process of its own.

    Raises:
        TorchfinchError: something is missing from the run, a file would not load in a worker, or the handler fails.
    """
    described = _described(run)
    stock = "regressor" if described.get("task") == "regression" else "classifier"
    own, handler = handler is not None, handler or project_file(f"handlers/{stock}.py")
    sources.check_name(name)
    sources.check_name(version, what="version")
    sources.check_handler(handler)
    sources.check_network(run / "model.py")
    files = {
        handler.name: handler.read_bytes(),
        "model.py": (run / "model.py").read_bytes(),
        _WEIGHTS: _weights(run),
        "index_to_name.json": _dump(dict(enumerate(described["labels"]))),
        "lineage.json": _dump(described.get("lineage") or {}),
        "model-config.yaml": _config(described, serving or ServingConfig()),
        **_golden(run / "golden"),
        **_sdk(),
    }
    files.update(_extra(extra, beside=files))
    files[MANIFEST] = _manifest(name=name, version=version, handler=handler.name)
    if own and GOLDEN in files:
        files[GOLDEN] = _dump(recorded(json.loads(files[GOLDEN]), files, handler=handler.name))
    files[DIGESTS] = _dump({path: sha256(content).hexdigest() for path, content in files.items()})
    _write(files, output)
    return output


def _described(run: Path) -> dict[str, Any]:
    try:
        described = json.loads((run / "model.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise TorchfinchError(
            f"{run} is no run folder: it has no model.json", "torchfinch train NAME makes one"
        ) from error
    except ValueError as error:
        raise TorchfinchError(f"{run / 'model.json'} is no JSON: {error}", "train again") from error
    missing = {"network", "labels", "preprocessing"} - set(described)
    if missing:
        raise TorchfinchError(f"{run / 'model.json'} lacks {', '.join(sorted(missing))}", "train again")
    labels = described["labels"]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise TorchfinchError(f"two classes are called {twice!r}", "give every class a name of its own")
    return dict(described)


def _weights(run: Path) -> bytes:
    try:
        return (run / _WEIGHTS).read_bytes()
    except OSError as error:
        hint = "torchfinch train NAME writes it; a state dict of your own: torchfinch.handler.safetensors.save"
        raise TorchfinchError(f"{run} has no {_WEIGHTS}", hint) from error


def _extra(paths: Sequence[Path], *, beside: Mapping[str, bytes]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in paths:
        sources.check_extra(path)
        if path.name in {**beside, **files}:
            raise TorchfinchError(f"the archive has a {path.name} already", f"rename {path}")
        files[path.name] = path.read_bytes()
    return files


def _config(described: Mapping[str, Any], serving: ServingConfig) -> bytes:
    settings = {
        "format": FORMAT,
        "sdk_version": torchfinch.__version__,
        "network": described["network"],
        "preprocessing": described["preprocessing"],
        "top_k": described.get("top_k", 5),
        "explain": described.get("explain", "integrated_gradients"),
    }
    optional = {key: described[key] for key in ("task", "limits", "batch_buckets") if key in described}
    content = {**serving.to_dict(), "handler": {**settings, **optional}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _manifest(*, name: str, version: str, handler: str) -> bytes:
    model = {
        "modelName": name,
        "modelVersion": version,
        "handler": handler,
        "modelFile": "model.py",
        "serializedFile": _WEIGHTS,
        "configFile": "model-config.yaml",
    }
    created = time.strftime("%d/%m/%Y %H:%M:%S", _time())
    return _dump({"createdOn": created, "runtime": "python", "model": model, "archiverVersion": "0.12.0"})


def _sdk() -> dict[str, bytes]:
    package = resources.files("torchfinch")
    modules = [entry for entry in (package / "handler").iterdir() if entry.name.endswith(".py")]
    files = {f"torchfinch/handler/{entry.name}": entry.read_bytes() for entry in modules}
    return {"torchfinch/__init__.py": (package / "__init__.py").read_bytes(), **files}


def _golden(folder: Path) -> dict[str, bytes]:
    """The golden requests, of which every file is there."""
    files = _folder(folder, "golden")
    try:
        expected = {entry["file"]: entry["expected"] for entry in json.loads(files.get(GOLDEN, b"[]"))}
    except (ValueError, KeyError, TypeError) as error:
        hint = "it is a list of objects with file and expected, as torchfinch train writes it"
        raise TorchfinchError(f"{folder / 'golden.json'} is broken: {error}", hint) from error
    missing = next((name for name in expected if f"golden/{name}" not in files), None)
    if missing is not None:
        hint = "put it there, or take the request out of golden.json"
        raise TorchfinchError(f"{folder / 'golden.json'} names {missing!r}, which does not lie beside it", hint)
    return files


def _folder(folder: Path, prefix: str) -> dict[str, bytes]:
    paths: Sequence[Path] = sorted(folder.iterdir()) if folder.is_dir() else []
    return {f"{prefix}/{path.name}": path.read_bytes() for path in paths if path.is_file()}


def _dump(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _time() -> time.struct_time:
    text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not text.isdecimal() or int(text) > _LAST:
        raise TorchfinchError(f"SOURCE_DATE_EPOCH is {text!r}", "set it to whole seconds since 1970, or unset it")
    return time.gmtime(max(int(text), _FIRST))


def _write(files: Mapping[str, bytes], output: Path) -> None:
    # Stored, not compressed: weights do not shrink, and compressors of different versions give different bytes.
    with replacing(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=_time()[:6])
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
