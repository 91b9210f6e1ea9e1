"""Archives from strangers: nothing is written outside the folder, nothing expands without end."""

import json
import stat
import zipfile
from pathlib import Path

import pytest

from torchfinch.archive import read_archive, unpack
from torchfinch.archive.read import MANIFEST
from torchfinch.errors import TorchfinchError

PLAIN = {"model": {"modelName": "plain", "handler": "image_classifier"}}


def archive_of(path: Path, **entries: bytes) -> Path:
    """A zip with a plain manifest and other entries."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(PLAIN))
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_plain_archive_is_read(tmp_path: Path) -> None:
    info = read_archive(archive_of(tmp_path / "plain.mar"))

    assert (info.name, info.version, info.golden, info.labels) == ("plain", "1.0", (), ())


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../b", "..\\evil", "C:evil"])
def test_entries_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path / "evil.mar", **{name: b""})

    with pytest.raises(TorchfinchError, match="leaves the archive's folder"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.mar"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")

    with pytest.raises(TorchfinchError, match="symbolic link"):
        read_archive(path)


def test_archives_that_expand_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    assert path.stat().st_size < 50_000

    with pytest.raises(TorchfinchError, match="expands to 5000000 bytes"):
        unpack(path, tmp_path / "out", limit=1_000_000)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("a", "2")

    with pytest.raises(TorchfinchError, match="two entries of one name"):
        read_archive(path)


@pytest.mark.parametrize("name", ["./" + MANIFEST, "MAR-INF//MANIFEST.json", "MAR-INF/./MANIFEST.json", "."])
def test_an_entry_that_may_hide_another_is_refused(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path / "hidden.mar", **{name: b"{}"})

    for read in (read_archive, lambda path: unpack(path, tmp_path / "out")):
        with pytest.raises(TorchfinchError, match="may hide another"):
            read(path)


def test_a_folder_as_an_entry_is_none_that_hides_another(tmp_path: Path) -> None:
    unpack(archive_of(tmp_path / "folder.mar", **{"golden/": b"", "golden/a": b"1"}), tmp_path / "out")

    assert (tmp_path / "out" / "golden" / "a").read_bytes() == b"1"


def configured(path: Path, config: bytes) -> Path:
    """A zip with a configuration."""
    model = {**PLAIN["model"], "configFile": "model-config.yaml"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps({"model": model}))
        archive.writestr("model-config.yaml", config)
    return path


def test_yaml_that_would_expand_without_end_is_refused(tmp_path: Path) -> None:
    levels = "".join(f"  {b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))
    path = configured(tmp_path / "bomb.mar", f"handler:\n  a: &a [x]\n{levels}".encode())

    with pytest.raises(TorchfinchError, match=r"model-config\.yaml, line 3, has the alias \*a"):
        read_archive(path)


@pytest.mark.parametrize("value", ["!!int ''", "!!timestamp x", "!!bool x", "2024-02-31", f"1{':00' * 180}.5"])
def test_a_value_that_no_yaml_has_is_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(TorchfinchError, match=r"model-config\.yaml is no YAML"):
        read_archive(configured(tmp_path / "x.mar", f"minWorkers: {value}".encode()))


@pytest.mark.parametrize(
    "config", [b"handler: text", b"handler: [1]", b"[" * 1200 + b"]" * 1200], ids=["text", "list", "deep"]
)
def test_a_configuration_that_is_none_is_a_damaged_archive(tmp_path: Path, config: bytes) -> None:
    with pytest.raises(TorchfinchError, match="no model archive, or a damaged one"):
        read_archive(configured(tmp_path / "x.mar", config))


@pytest.mark.parametrize("name", [["a"], {"a": 1}, 1])
def test_a_manifest_that_names_no_configuration_is_a_damaged_archive(tmp_path: Path, name: object) -> None:
    path = tmp_path / "x.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps({"model": {**PLAIN["model"], "configFile": name}}))

    with pytest.raises(TorchfinchError, match=r"a damaged one: MAR-INF/MANIFEST\.json has the configFile"):
        read_archive(path)


@pytest.mark.parametrize("labels", [{"0": []}, {"9" * 5000: "a"}], ids=["none", "huge"])
def test_labels_that_are_none_are_a_damaged_archive(tmp_path: Path, labels: object) -> None:
    path = archive_of(tmp_path / "x.mar", **{"index_to_name.json": json.dumps(labels).encode()})

    with pytest.raises(TorchfinchError, match=r"a damaged one: index_to_name\.json: "):
        read_archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_told_however_an_archive_is_compressed(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.mar"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(MANIFEST, json.dumps(PLAIN) + " " * 1000)
        begin, size = archive.infolist()[0].header_offset + 30 + len(MANIFEST), archive.infolist()[0].compress_size
    whole, told = path.read_bytes(), 0
    for place in range(begin, begin + size):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_archive(path)
        except TorchfinchError:
            told += 1
    assert told > size / 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no archive"), (b"", "no model archive"), (b"not a zip at all", "no model archive")],
)
def test_what_is_no_archive_is_told_so(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.mar"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TorchfinchError, match=message):
        read_archive(path)


def test_one_flipped_byte_anywhere_is_a_damaged_archive_and_no_traceback(tmp_path: Path) -> None:
    whole = archive_of(tmp_path / "plain.mar", **{"model.py": b"x" * 40}).read_bytes()
    told = 0
    for place in range(len(whole)):
        flipped = tmp_path / "flipped.mar"
        flipped.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_archive(flipped)
            unpack(flipped, tmp_path / "out")
        except TorchfinchError:
            told += 1
    assert told > len(whole) / 2


def test_an_archive_without_a_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", "")

    with pytest.raises(TorchfinchError, match="names no model and handler"):
        read_archive(path)


def test_a_full_disk_is_not_taken_for_a_damaged_archive(tmp_path: Path) -> None:
    path, folder = archive_of(tmp_path / "good.mar", weights=bytes(100_000)), tmp_path / "out"
    folder.mkdir()
    (folder / "weights").symlink_to("/dev/full")

    with pytest.raises(TorchfinchError) as raised:
        unpack(path, folder)
    assert raised.value.message == f"{path} cannot be unpacked into {folder}: No space left on device"
    assert raised.value.hint == "free some space there"
