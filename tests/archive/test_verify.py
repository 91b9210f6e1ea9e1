"""An archive proves itself in a fresh process, or says why not."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from colours import LABELS, colour_image, colour_probabilities, write_colour_run

from torchfinch.archive import pack_run, verify
from torchfinch.archive.read import DIGESTS


def rewritten(source: Path, target: Path, **changes: bytes) -> Path:
    """A copy of an archive with some entries replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, old.read(name)))
    return target


def outcome(path: Path) -> dict[str, bool | None]:
    """The result of each check by name."""
    return {check.name: check.ok for check in verify(path).checks}


def test_a_good_archive_passes_every_check(colour_archive: Path) -> None:
    assert outcome(colour_archive) == {"digests": True, "loads": True, "golden": True, "isolation": True}


def test_a_changed_file_is_found_and_not_run(colour_archive: Path, tmp_path: Path) -> None:
    evil = b"import pathlib; pathlib.Path(__file__).with_name('ran').touch()"
    changed = rewritten(colour_archive, tmp_path / "x.mar", **{"model.py": evil})
    result = verify(changed)

    assert not result.ok
    assert [(check.name, check.detail) for check in result.checks] == [("digests", "changed since packing: model.py")]


def with_handler(run: Path, folder: Path, source: str) -> Path:
    """An archive whose handler was changed after packing, digests and all."""
    packed = pack_run(run, name="colours", version="1.0", output=folder / "packed.mar")
    with zipfile.ZipFile(packed) as archive:
        digests = json.loads(archive.read(DIGESTS))
    digests["classifier.py"] = hashlib.sha256(source.encode()).hexdigest()
    changes = {"classifier.py": source.encode(), DIGESTS: json.dumps(digests).encode()}
    return rewritten(packed, folder / "x.mar", **changes)


def test_the_first_real_traceback_is_shown(colour_run: Path, tmp_path: Path) -> None:
    source = "import a_package_that_is_not_there\n\n\nclass Mine: ...\n"
    result = verify(with_handler(colour_run, tmp_path, source))

    assert not result.ok
    assert "No module named 'a_package_that_is_not_there'" in str(result.traceback)
    assert "classifier.py" in str(result.traceback)
    assert [(check.name, check.ok) for check in result.checks[1:]] == [("loads", False)]


def test_a_handler_that_loads_and_then_raises_is_told_so(colour_run: Path, tmp_path: Path) -> None:
    source = (
        "from torchfinch.handler import ImageClassifier\n\n\n"
        "class Mine(ImageClassifier):\n    def handle(self, data, context):\n        raise KeyError('here')\n"
    )
    result = verify(with_handler(colour_run, tmp_path, source))

    assert [(check.name, check.ok) for check in result.checks[1:]] == [("loads", True), ("golden", False)]
    assert "KeyError: 'here'" in str(result.traceback)


@pytest.mark.parametrize(("answer", "ok"), [("raise UnsupportedMedia('no')", True), ("return self.zeros()", None)])
def test_a_handler_may_refuse_or_take_what_is_no_image_in_its_own_way(
    colour_run: Path, tmp_path: Path, answer: str, ok: bool | None
) -> None:
    source = (
        "import torch\nfrom torchfinch.handler import ImageClassifier, UnsupportedMedia\n\n\n"
        "class Mine(ImageClassifier):\n"
        "    def zeros(self):\n        return torch.zeros(3, 16, 16)\n\n"
        "    def decode(self, body):\n"
        f"        if body.startswith(b'this'):\n            {answer}\n"
        "        return super().decode(body)\n"
    )
    assert outcome(with_handler(colour_run, tmp_path, source))["isolation"] is ok


def test_an_archive_of_torchfinch_without_its_digests_fails(colour_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(colour_archive) as old, zipfile.ZipFile(tmp_path / "x.mar", "w") as new:
        for name in old.namelist():
            if name != DIGESTS:
                new.writestr(name, old.read(name))
    assert outcome(tmp_path / "x.mar") == {"digests": False}


def test_fewer_labels_in_an_answer_than_golden_requests_expect_are_no_fault(tmp_path: Path) -> None:
    run = write_colour_run(tmp_path / "run")
    described = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**described, "top_k": 1}))
    entries = json.loads((run / "golden" / "golden.json").read_text())
    for entry in entries:
        name = entry["file"].removesuffix(".png")
        chances = colour_probabilities(colour_image(name)).tolist()
        entry["expected"]["probabilities"] = dict(zip(LABELS, chances, strict=True))
    (run / "golden" / "golden.json").write_text(json.dumps(entries))

    assert outcome(pack_run(run, name="colours", version="1.0", output=tmp_path / "x.mar"))["golden"] is True


def test_a_model_that_answers_otherwise_than_promised_fails(tmp_path: Path) -> None:
    run = write_colour_run(tmp_path / "run")
    described = json.loads((run / "model.json").read_text())
    described["network"]["arguments"]["sharpness"] = 0.5
    (run / "model.json").write_text(json.dumps(described))
    result = verify(pack_run(run, name="colours", version="1.0", output=tmp_path / "x.mar"))

    [golden] = [check for check in result.checks if check.name == "golden"]
    assert golden.ok is False
    assert "red.png: probabilities.red is " in golden.detail


def test_the_installed_torchfinch_is_not_what_is_verified(colour_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(colour_archive) as archive:
        digests = json.loads(archive.read(DIGESTS))
    module = "torchfinch/handler/classifier.py"
    broken = b"raise RuntimeError('the copy in the archive ran')\n"
    digests[module] = hashlib.sha256(broken).hexdigest()
    changes = {module: broken, DIGESTS: json.dumps(digests).encode()}
    result = verify(rewritten(colour_archive, tmp_path / "x.mar", **changes))

    assert "the copy in the archive ran" in str(result.traceback)


def test_a_handler_that_hangs_is_given_up(colour_run: Path, tmp_path: Path) -> None:
    archive = with_handler(colour_run, tmp_path, "import time\n\ntime.sleep(600)\n\n\nclass Mine: ...\n")

    assert verify(archive, timeout=5).traceback == "no answer within 5 s"


@pytest.mark.slow
def test_an_archive_of_torch_model_archiver_with_torchserves_own_handler_is_verified(tmp_path: Path) -> None:
    import torch

    (tmp_path / "model.py").write_text(
        "from torchvision.models.squeezenet import SqueezeNet\n\n\n"
        "class Net(SqueezeNet):\n    def __init__(self):\n        super().__init__('1_1', num_classes=5)\n"
    )
    from torchvision.models.squeezenet import SqueezeNet

    torch.save(SqueezeNet("1_1", num_classes=5).state_dict(), tmp_path / "model.pth")
    mapping = {str(index): f"class {index}" for index in range(5)}
    (tmp_path / "index_to_name.json").write_text(json.dumps(mapping))
    archiver = shutil.which("torch-model-archiver", path=str(Path(sys.executable).parent))
    assert archiver
    command = [archiver, "--model-name", "plain", "--version", "1.0", "--handler", "image_classifier"]
    files = {"--model-file": "model.py", "--serialized-file": "model.pth", "--extra-files": "index_to_name.json"}
    options = [part for flag, name in files.items() for part in (flag, str(tmp_path / name))]
    subprocess.run([*command, *options, "--export-path", str(tmp_path)], check=True, capture_output=True)

    result = verify(tmp_path / "plain.mar")

    assert result.traceback is None
    assert {check.name: check.ok for check in result.checks} == {"digests": None, "loads": True, "golden": None}
    assert result.archive.labels == tuple(mapping.values())
