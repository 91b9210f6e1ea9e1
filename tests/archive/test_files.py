"""Files are written whole or not at all, and what keeps them from being written is one line."""

import errno
import os
from pathlib import Path

import pytest

from torchfinch.cli import main
from torchfinch.files import replacing, write_whole


def write_on_a_full_disk(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left") as caught:
        write_on_a_full_disk(path)
    assert caught.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_what_another_file_lacks_is_told_by_that_files_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        copy(tmp_path / "source", tmp_path / "copy")
    assert caught.value.filename == str(tmp_path / "source")


def test_a_command_that_cannot_write_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "folder" / "x.csv"
    with pytest.raises(SystemExit) as caught:
        main(lambda: write_on_a_full_disk(path))
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {path}: No space left on device\n  free some space\n"


def test_other_faults_of_files_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        main(lambda: write_whole(tmp_path, "x"))


@pytest.mark.parametrize("place", ["/proc/page.html", "/proc/folder/page.html"])
def test_a_place_where_no_file_can_be_made_is_told_in_one_line(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(lambda: write_whole(Path(place), ""))

    assert capsys.readouterr().err == f"error: {place}: no file can be made there\n  name another place\n"
