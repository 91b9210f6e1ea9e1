"""`--set NAME=VALUE`, wherever a command takes it."""

import typer


def pairs(texts: list[str] | None, *, option: str = "--set") -> dict[str, str]:
    """Name to value; a name that is given again counts as said last."""
    split = [text.partition("=") for text in texts or ()]
    for name, equals, value in split:
        if not (name.strip() and equals):
            raise typer.BadParameter(f"{name + equals + value!r} is not NAME=VALUE, such as seed=1", param_hint=option)
    return {name.strip(): value.strip() for name, _, value in split}
