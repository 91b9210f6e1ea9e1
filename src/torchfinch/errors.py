"""The one error that torchfinch shows to people: what was wrong, and what to do about it."""

import re


class TorchfinchError(Exception):
    """An expected failure; the command line prints it as one line and exits with 1.

    `message` names what was wrong with the value shown; `hint` says what to do, as a command where there is one.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


def without_password(address: str) -> str:
    """The address of a database or server with `***` for whatever stands before its host; a path is left whole.

    A password may hold a `/` or an `@`, as databases allow; what follows a host and its port is none.
    """
    return re.sub(r"://(?:[^/:@]*:(?!\d+/).*|[^/]*)@", "://***@", address)
