"""The opaque cursor of a page: the creation time and id of its last comparison."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime


def encode(created_at: datetime, comparison_id: str) -> str:
    return urlsafe_b64encode(json.dumps([created_at.isoformat(), comparison_id]).encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """The place in the list after which the next page begins.

    Raises:
        ValueError: it is none of ours.
    """
    match json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))):
        case [str(created_at), str(comparison_id)] if (moment := datetime.fromisoformat(created_at)).tzinfo:
            if "\x00" not in comparison_id:  # which PostgreSQL would not look for
                return moment, comparison_id
    raise ValueError(f"{cursor!r} is no cursor")
