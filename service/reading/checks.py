"""What the readers of all formats refuse alike."""

from service.bodies import escape
from service.errors import Problem, invalid
from workers.contract.base import Violation

MAX_COLUMNS = 65_536
MAX_NAME = 200
"""Characters of a column's name, and of a class's."""


def wrong(pointer: str, message: str, code: str) -> Violation:
    return Violation(pointer=pointer, message=message, code=code)


def at(column: str, *place: int) -> str:
    """Pointer to a value, or to a column: /column/row counted from 0."""
    return "".join(f"/{part}" for part in (escape(shown(column)), *place))


def shown(name: str) -> str:
    """A name that can stand in a message."""
    text = name.encode("utf-8", "replace").decode().replace("\x00", "\\0")
    return text if len(text) <= 80 else f"{text[:77]}..."


def no_room(what: str, needed: int, limit: int) -> Problem:
    message = (
        f"{what} would take {megabytes(needed)} as numbers, the limit here is {megabytes(limit)}: "
        "send fewer rows or columns, or npz with x as uint8 or float32"
    )
    return invalid([wrong("", message, "over_limit")])


def megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def check_names(names: list[str]) -> None:
    """Refuses a table whose columns cannot be told apart or named.

    Raises:
        Problem
    """
    if len(names) > MAX_COLUMNS:
        message = f"the table has {len(names):,} columns, the limit is {MAX_COLUMNS:,}: are rows and columns swapped?"
        raise invalid([wrong("", message, "over_limit")])
    found: list[Violation] = []
    seen: set[str] = set()
    for position, name in enumerate(names, 1):
        if not name.strip() or name.startswith("__index_level_"):
            message = f"column {position} has no name, as an index of rows has none: name it, or leave it out"
            found.append(wrong(at(name), message, "no_name"))
        elif len(name) > MAX_NAME or any(sign < " " for sign in name):
            message = (
                f"the name of column {position}, {shown(name)!r}, is longer than {MAX_NAME} characters or has control "
                "characters: give it a plain one"
            )
            found.append(wrong(at(name), message, "bad_name"))
        elif name in seen:
            message = f"the column {shown(name)!r} stands twice: give one of them another name"
            found.append(wrong(at(name), message, "duplicate_name"))
        seen.add(name)
    if found:
        raise invalid(found[:20])
