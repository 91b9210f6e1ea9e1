"""What `torchfinch init` makes."""

import re
import tomllib
from pathlib import Path

import pytest

from torchfinch.errors import TorchfinchError
from torchfinch.project import create

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"\bdocs/[\w./-]+\.md")
LINKED = re.compile(r"\]\(([^)#:]+)[)#]")


def texts(folder: Path) -> dict[Path, str]:
    suffixes = {".md", ".py", ".properties", ".yaml", ".sh", ""}
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes)
    return {path: path.read_text(encoding="utf-8") for path in files}


def test_a_project_has_every_page_that_its_files_name_or_link_to(tmp_path: Path) -> None:
    create(tmp_path / "project")
    root = tmp_path / "project"
    found = texts(root)
    named = {root / name for text in found.values() for name in NAMED.findall(text)}
    pages = {path: text for path, text in found.items() if path.suffix == ".md"}
    linked = {path.parent / link for path, text in pages.items() for link in LINKED.findall(text)}

    assert root / "docs" / "serving.md" in named
    assert [path for path in named | linked if not path.exists()] == []


def test_what_a_project_is_made_of_is_in_the_wheel(tmp_path: Path) -> None:
    create(tmp_path / "project")
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = {place.removeprefix("torchfinch/_project/") for place in built["force-include"].values()}
    parts = {name.partition("/")[0] for name in included}

    assert {path.name for path in (tmp_path / "project").iterdir()} <= parts | {"README.md", "Makefile", ".gitignore"}
    assert "docs" in included


def test_an_empty_folder_that_one_is_in_becomes_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create(Path())

    assert Path("config.properties").read_bytes() == (ROOT / "config.properties").read_bytes()
    assert f"# {tmp_path.name}\n" in Path("README.md").read_text()
    with pytest.raises(TorchfinchError, match="exists and is not empty"):
        create(Path())


def test_a_project_that_cannot_be_made_leaves_an_empty_folder_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchfinch.project.carried", lambda: tmp_path / "nothing")
    (tmp_path / "mine").mkdir()

    with pytest.raises(TorchfinchError, match="mine cannot be made: "):
        create(tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())
