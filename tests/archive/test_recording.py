"""An archive with a handler of one's own promises what that handler answers, and is not packed where it fails."""

import json
import zipfile
from pathlib import Path

import pytest
from colours import colour_image, colour_probabilities, write_colour_run

from torchfinch.archive import pack_run, read_archive, verify
from torchfinch.errors import TorchfinchError

HANDLERS = Path(__file__).parents[2] / "handlers"
OTHERWISE = """
from torchfinch.handler import ImageClassifier


class Mine(ImageClassifier):
    def encode(self, row):
        answer = super().encode(row)
        return {"best": [answer["label"], answer["confidence"] / 2]}
"""


def packed(folder: Path, source: str | Path, *extra: Path) -> Path:
    """The colour model with a handler, a file or its text."""
    handler = source if isinstance(source, Path) else folder / "mine.py"
    if isinstance(source, str):
        handler.write_text(source)
    run = folder / "run" if (folder / "run").exists() else write_colour_run(folder / "run")
    return pack_run(run, name="colours", version="1.0", output=folder / "x.mar", handler=handler, extra=extra)


@pytest.mark.parametrize("name", ["averaged", "cautious", "classifier"])
def test_an_archive_with_a_handler_of_this_project_proves_itself(tmp_path: Path, name: str) -> None:
    assert verify(packed(tmp_path, HANDLERS / f"{name}.py")).ok


def test_a_handler_that_answers_as_the_network_does_leaves_the_golden_requests_as_they_were(tmp_path: Path) -> None:
    golden = read_archive(packed(tmp_path, HANDLERS / "averaged.py")).golden  # of one colour: its own mirror image

    assert golden[0].expected["probabilities"] == {"red": float(colour_probabilities(colour_image("red"))[0])}


def test_answers_of_another_form_are_recorded_and_told_and_held_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = packed(tmp_path, OTHERWISE)

    said = capsys.readouterr().err
    assert "mine.py answers otherwise than the network alone" in said
    assert "red.png: predicted_class is None, expected 0" in said
    assert [golden.expected["best"][0] for golden in read_archive(archive).golden] == ["red", "green", "blue"]
    assert verify(archive).ok

    before = (tmp_path / "run" / "model.json").read_text()
    described = json.loads(before)
    described["network"]["arguments"]["sharpness"] = 0.5
    with zipfile.ZipFile(archive) as mar:
        promised = mar.read("golden/golden.json")
    (tmp_path / "run" / "golden" / "golden.json").write_bytes(promised)
    (tmp_path / "run" / "model.json").write_text(json.dumps(described))
    assert [golden.expected for golden in read_archive(packed(tmp_path, OTHERWISE)).golden] != json.loads(promised)


def test_packing_twice_with_such_a_handler_gives_the_same_bytes(tmp_path: Path) -> None:
    first = packed(tmp_path, OTHERWISE).read_bytes()

    assert packed(tmp_path, OTHERWISE).read_bytes() == first


BROKEN = {
    "a package": ("import a_package_that_is_not_there\n\n\nclass Mine: ...\n", "mine.py fails: ModuleNotFoundError"),
    "a refusal": (
        "from torchfinch.handler import ImageClassifier, Unprocessable\n\n\nclass Mine(ImageClassifier):\n"
        "    def decode(self, body):\n        raise Unprocessable('too red')\n",
        "mine.py refuses the golden request red.png with status 422: too red",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_handler_that_fails_is_told_and_nothing_is_packed(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, message = BROKEN[name]
    with pytest.raises(TorchfinchError, match=message):
        packed(tmp_path, source)

    assert ("Traceback" in capsys.readouterr().err) == (name == "a package")
    assert not (tmp_path / "x.mar").exists()


def test_a_handlers_own_files_travel_beside_it(tmp_path: Path) -> None:
    helper, table = tmp_path / "helper.py", tmp_path / "table.json"
    helper.write_text(
        "import json\nfrom pathlib import Path\n\n"
        "NAMES = json.loads((Path(__file__).parent / 'table.json').read_text())\n"
    )
    table.write_text('{"red": "rosso"}')
    source = OTHERWISE.replace("\n\n\nclass", "\nfrom helper import NAMES\n\n\nclass").replace(
        'answer["label"],', 'NAMES.get(answer["label"]),'
    )
    archive = packed(tmp_path, source, helper, table)

    assert read_archive(archive).golden[0].expected["best"][0] == "rosso"
    assert verify(archive).ok


REFUSED = {
    "torch.py": ("x = 1\n", "would hide the module torch"),
    "helper.py": ("from .other import x\n", r"imports \.other\.x, and files of an archive are no package"),
    "mine.py": ("x = 1\n", "has a mine.py already"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_would_not_load_there_are_refused(tmp_path: Path, name: str) -> None:
    source, message = REFUSED[name]
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / name).write_text(source)
    with pytest.raises(TorchfinchError, match=message):
        packed(tmp_path, OTHERWISE, tmp_path / "others" / name)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TorchfinchError, match=r"there is no file .*nothing\.py"):
        packed(tmp_path, OTHERWISE, tmp_path / "nothing.py")
