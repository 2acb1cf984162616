"""Reads a JSON body strictly: what JSON does not have, what a database cannot keep and what no request needs is refused.

Python's own parser takes NaN, Infinity and 1e999, keeps the last of two equal keys, and reads lone surrogates.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from math import isfinite
from typing import IO

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from service.errors import Problem, invalid
from workers.contract.base import Violation

MAX_DEPTH = 64
"""Levels of nesting; a network that repeats blocks of blocks of blocks needs a dozen."""
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 10
"""How much of a body that is too long is read before the connection is cut."""
MAX_DIGITS = 40
"""Of a whole number: beyond it no bound of ours is met, and a message would only repeat it."""


class _Refused(str):
    """A number as it was written that has no place in a request."""


class _Repeated(dict[str, object]):
    """An object in which a key stands twice."""

    keys_twice: list[str]


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, if it is JSON by its media type and at most `limit` bytes long.

    Raises:
        Problem: 415 for another media type, 413 as soon as it is known to be too long.
    """
    media_type = _media_type(request)
    # Also keeps a web page of another origin from starting trainings here: browsers ask before they send this type.
    if media_type != "application/json" and not media_type.endswith("+json"):
        detail = f"the body is said to be {media_type or 'of no type'}: send it with Content-Type: application/json"
        raise Problem(415, "wrong_media_type", detail)
    body = bytearray()
    async for chunk in _chunks(request, limit):
        body += chunk
    return bytes(body)


async def save_body(request: Request, target: IO[bytes], limit: int, media_types: Sequence[str]) -> None:
    """Writes the whole body to a file, as it comes, if it is of one of these media types and at most `limit` bytes long.

    Raises:
        Problem: 415, 413.
    """
    media_type = _media_type(request)
    if media_type not in media_types:  # none of these is what a form of a page of another origin could send
        detail = f"the body is said to be {media_type or 'of no type'}: send it with Content-Type: {' or '.join(media_types)}"
        raise Problem(415, "wrong_media_type", detail)
    async for chunk in _chunks(request, limit):
        await run_in_threadpool(target.write, chunk)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    detail = f"the body is larger than {limit:,} bytes, the limit here"
    too_large = Problem(413, "too_large", detail, headers={"Connection": "close"})
    stream = request.stream()
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        if "expect" not in request.headers:  # such a client asks before it sends the body: it need not
            await _drain(stream)
        raise too_large
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            await _drain(stream)
            raise too_large
        yield chunk


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Reads on for a while and drops what comes: a client that is cut off in mid-sentence does not see an answer."""
    dropped = 0
    with anyio.move_on_after(DRAIN_SECONDS):
        async for chunk in stream:
            dropped += len(chunk)
            if dropped > DRAIN_BYTES:
                return


def parse(body: bytes) -> object:
    """The value that a JSON text stands for.

    Raises:
        Problem: 400 for what is not JSON, with line and column; 422 with pointers for what JSON allows and we do not.
    """
    if not body.strip():
        raise Problem(400, "not_json", "the body is empty: a JSON object is needed")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(400, "not_json", f"the body is not UTF-8: byte {error.start} cannot be read") from None
    try:
        value: object = json.loads(
            text,
            parse_constant=_Refused,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(400, "not_json", f"the body is not JSON: {error.msg.lower()} at {where}") from None
    except RecursionError:
        raise invalid([_too_deep("")]) from None
    wrong = list(_refusals(value, "", 0))
    if wrong:
        raise invalid(wrong[:20])
    return value


def escape(part: str) -> str:
    """A part of a JSON pointer, RFC 6901."""
    return part.replace("~", "~0").replace("/", "~1")


def _finite(text: str) -> float | _Refused:
    value = float(text)
    return value if isfinite(value) else _Refused(text)


def _whole(text: str) -> int | _Refused:
    return int(text) if len(text) <= MAX_DIGITS else _Refused(text)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = _Repeated(found)
    repeated.keys_twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1][:5]
    return repeated


def _refusals(value: object, pointer: str, depth: int) -> Iterator[Violation]:
    if depth > MAX_DEPTH:
        yield _too_deep(pointer)
    elif isinstance(value, _Refused):
        message = f"{value[:24]} is no number a computer can use here: write a finite one"
        yield Violation(pointer=pointer, message=message, code="not_finite")
    elif isinstance(value, str):
        yield from _bad_characters(value, pointer, "the text")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _refusals(item, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, dict):
        for key in value.keys_twice if isinstance(value, _Repeated) else ():
            message = f"{_shown(key)} stands twice in this object: keep one of them"
            yield Violation(pointer=f"{pointer}/{escape(_shown(key))}", message=message, code="repeated_key")
        for key, item in value.items():
            wrong = list(_bad_characters(key, pointer, "a key of this object"))
            yield from wrong or _refusals(item, f"{pointer}/{escape(key)}", depth + 1)


def _bad_characters(text: str, pointer: str, what: str) -> Iterator[Violation]:
    if "\x00" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        message = f"{what} holds a null character or half of a surrogate pair: leave it out"
        yield Violation(pointer=pointer, message=message, code="bad_characters")


def _shown(text: str) -> str:
    return text[:80].encode("utf-8", "replace").decode()


def _too_deep(pointer: str) -> Violation:
    message = f"the body is nested deeper than {MAX_DEPTH} levels: write it flatter"
    return Violation(pointer=pointer, message=message, code="too_deep")
