"""Text for profiles: sizes, counts, escaped values, and the cap on the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: characters of one profile: about 1,500 tokens
PROFILE_CHARACTERS = 6_000
_VALUE_CHARACTERS = 48
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """`count` bytes in decimal units: "208.5 MB"."""
    number = float(count)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{int(count)} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{number:.1f} {unit}"


def plural(count: int, noun: str, plural_noun: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural_noun or noun + 's'}"


def clean(text: str) -> str:
    """`text` with all that is not printable escaped: terminal codes, bidi controls, lone surrogates, newlines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clip(text: str, limit: int = _VALUE_CHARACTERS) -> str:
    """At most `limit` characters of `text`, escaped, with what was cut counted by an ellipsis."""
    cut = clean(text[: limit * 2])
    return cut if len(cut) <= limit and len(text) <= limit * 2 else cut[: limit - 1] + "…"


def reason(error: BaseException, limit: int = 200) -> str:
    """Why a library gave up, in one line without its full stop; the class of error where it does not say."""
    return clip(" ".join(str(error).split()).rstrip(".") or type(error).__name__, limit)


def show(value: object) -> str:
    """One value, short and safe: text in quotes, numbers without noise."""
    if value is None or type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value):
        return "null"
    if isinstance(value, str):
        return "'" + clip(value) + "'"
    if isinstance(value, float):
        return f"{value:.6g}" if value != int_or_none(value) or abs(value) >= 1e15 else f"{value:.1f}"
    try:
        return clip(str(value))
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def number(value: object) -> str:
    """A number for a range: thousands separated, at most six significant decimals."""
    if isinstance(value, int):
        return clip(f"{value:,}") if value.bit_length() < 1000 else f"an integer of {value.bit_length():,} bits"
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int_or_none(value) and abs(value) < 1e15 else f"{value:.6g}"
    return show(value)


def int_or_none(value: float) -> int | None:
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def listed(items: Sequence[str], limit: int, noun: str = "more") -> str:
    """The first `limit` items, comma separated, and how many were left out."""
    text = ", ".join(items[:limit])
    return text + (f", … {len(items) - limit:,} {noun}" if len(items) > limit else "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns of escaped text."""
    grid = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(header))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid
    ]


def cap(lines: Sequence[str], limit: int = PROFILE_CHARACTERS) -> str:
    """The lines that fit into `limit` characters, and how many were left out."""
    kept: list[str] = []
    used = 0
    for index, line in enumerate(lines):
        line = clip(line, 700)
        if used + len(line) + 1 > limit - 60:
            kept.append(f"({plural(len(lines) - index, 'more line')} of this profile left out)")
            break
        kept.append(line)
        used += len(line) + 1
    return "\n".join(kept)
