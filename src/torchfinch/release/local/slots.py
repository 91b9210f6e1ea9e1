"""The two places for a version on one machine; which of them is stable changes with every promotion."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.release.state import Role

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, ...] = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is meant to run in a slot. Without an address its start has not been finished."""

    digest: str = ""
    label: str = ""
    address: str = ""
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Both slots, and which of them is stable."""

    stable: Slot = "a"
    a: Place = Place()
    b: Place = Place()

    def slot(self, role: Role) -> Slot:
        """The slot that has this role."""
        return self.stable if role == "stable" else "b" if self.stable == "a" else "a"

    def place(self, slot: Slot) -> Place:
        """What is in this slot."""
        return self.a if slot == "a" else self.b


_TABLE = TypeAdapter(Table)


class SlotFile:
    """The table as a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Table:
        """The table; a new one where there is none.

        Raises:
            TorchfinchError: it cannot be read.
        """
        try:
            return _TABLE.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Table()
        except ValidationError as error:
            hint = "put back a copy that is whole, or torchfinch canary stop NAME and move the folder away"
            raise TorchfinchError(f"{self._path} cannot be read: {error.error_count()} faults", hint) from error

    def write(self, table: Table) -> None:
        """Keep the table, whole or not at all."""
        write_whole(self._path, _TABLE.dump_json(table, indent=2))

    def place(self, slot: Slot, place: Place) -> None:
        """Change what is in one slot."""
        table = self.read()
        self.write(replace(table, a=place) if slot == "a" else replace(table, b=place))
