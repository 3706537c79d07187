"""Which encoding a text file is in, from its byte order mark or from samples of its bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_HEAD = 262_144
_SPOT = 65_536
_SPOTS = 8
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
#: single-byte code pages, most common first, with the letters and signs that their text is made of
_CODE_PAGES = {
    "cp1252": "äöüßÄÖÜéèêëàâçîïôûùœæñáíóúãõåøÅØÆÉÈÇÑ€£°²³µ§«»–—’‘“”„…·ª",
    "cp1250": "ąćęłńóśźżŁŚŹŻĆČčďěňřšťůýžÁáÉéíőűŐŰĽľôäöüßşţâî€°–—’“”„…",
    "cp1254": "çğıİöşüÇĞŞÖÜâî€°–—’“”…",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґёўђјљњћџ№«»–—“”°",
    "cp1253": "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋ–—’“”«»€°",
    "koi8_r": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "mac_roman": "äöüßÄÖÜéèêëàâçîïôûùñáíóúãõåø–—’‘“”…",
    "cp850": "äöüßÄÖÜéèêëàâçîïôûùñáíóú",
}
#: letters, digits, common signs, space and line ends of EBCDIC
_EBCDIC = frozenset(
    (
        *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:-_/()'\"&+*=%#@$?!<>\r\n\t".encode(
            "cp037"
        ),
        0x15,
    )
)
_MULTI_BYTE = ["cp932", "euc_jp", "gb18030", "big5", "cp949"]
_WORD = re.compile(r"[^\s,;|\t\"'()/<>]*[^\x00-\x7f\s][^\s,;|\t\"'()/<>]*")
_MOST_WORDS = 3_000


@dataclass(frozen=True)
class Encoding:
    """A codec's name, how bytes that are not in it are read, and how sure this is."""

    codec: str
    errors: str = "strict"
    how: str = ""

    def said(self) -> str:
        return f"{self.codec} ({self.how})" if self.how else self.codec

    def plain(self) -> bool:
        """Whether the bytes are UTF-8 as they stand."""
        return self.codec in ("utf-8", "utf-8-sig", "ascii") and self.errors == "strict"


def detect(path: str, size: int) -> Encoding:
    """The encoding of a file, from its beginning and a few spots of it."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        spots = [head]
        if size > 4 * _HEAD:
            for index in range(1, _SPOTS + 1):
                file.seek(min(size - _SPOT, size * index // _SPOTS))
                spots.append(file.read(_SPOT))
    return of_bytes(spots)


def of_bytes(spots: list[bytes]) -> Encoding:
    """The encoding of a text, given its beginning and further pieces cut anywhere."""
    head = spots[0]
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, how="byte order mark")
    wide = _wide(head)
    if wide:
        return Encoding(wide, how="no byte order mark, by its zero bytes")
    broken = [spot for index, spot in enumerate(spots) if not _is_utf8(spot, cut_at_start=index > 0)]
    if not broken:
        return Encoding("utf-8")
    return of_broken(broken)


def of_broken(spots: list[bytes]) -> Encoding:
    """The encoding of bytes that are not valid UTF-8."""
    sample = b"\n".join(line for spot in spots for line in spot.splitlines() if not line.isascii())[:_HEAD]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for character in text if ord(character) > 127) - bad
    if good > 10 * bad:
        return Encoding("utf-8", "replace", "bytes that are not UTF-8 read as \ufffd")
    scores = {codec: _score(_decoded(sample, codec), letters) for codec, letters in _CODE_PAGES.items()}
    best = max(scores, key=lambda codec: scores[codec])
    many = _multi_byte(sample) if scores[best] < 0.5 else None
    if many:
        return Encoding(many, how="guessed from its bytes")
    if best == "cp1252" and not _fits(sample, "cp1252"):
        return Encoding("latin-1", how="guessed from its bytes")
    return Encoding(best, how="guessed from its bytes")


def lossy(encoding: Encoding) -> Encoding:
    """The same encoding, reading every byte there may be."""
    return Encoding(encoding.codec, "replace", encoding.how)


def is_text(head: bytes) -> bool:
    """Whether a file that begins like this is text; zero bytes and control characters say it is not."""
    if any(head.startswith(mark) for mark, _ in _MARKS) or _wide(head):
        return True
    found = controls(head) + head.count(0)
    return found <= len(head) // 200 and (found == 0 or b"\n" in head)


def controls(head: bytes) -> int:
    """Control characters that text does not have, zero bytes aside."""
    return sum(head.count(bytes((byte,))) for byte in range(1, 32) if byte not in (7, 8, 9, 10, 12, 13, 27))


def is_ebcdic(head: bytes) -> bool:
    """Whether a file that begins like this is text of a mainframe: its letters and spaces, and none of ASCII's."""
    sample = head[:4096]
    if len(sample) < 8 or b" " in sample or b"\n" in sample or not any(byte in sample for byte in b"\x15\x25\x40"):
        return False
    return sum(byte in _EBCDIC for byte in sample) >= len(sample) * 0.95


def _wide(head: bytes) -> str | None:
    sample = head[:4096]
    if len(sample) < 4 or len(sample) % 2:
        sample = sample[:-1] if len(sample) >= 5 else b""
    if not sample:
        return None
    if len(sample) >= 16:
        counts = [sample[place::4].count(0) for place in range(4)]
        quarter = len(sample) // 4
        if min(counts[2], counts[3]) >= quarter * 0.9 and counts[0] < quarter * 0.05:
            return "utf-32-le"
        if min(counts[0], counts[1]) >= quarter * 0.9 and counts[3] < quarter * 0.05:
            return "utf-32-be"
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.05:
        return "utf-16-be"
    return None


def _is_utf8(piece: bytes, cut_at_start: bool) -> bool:
    start = 0
    while cut_at_start and start < min(3, len(piece)) and piece[start] & 0xC0 == 0x80:
        start += 1
    try:
        piece[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.end + start >= len(piece)
    return True


def _decoded(sample: bytes, codec: str) -> str:
    return sample.decode(codec, "replace")


def _fits(sample: bytes, codec: str) -> bool:
    try:
        sample.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _multi_byte(sample: bytes) -> str | None:
    """The East Asian encoding of a sample: telling these apart takes the statistics charset-normalizer has."""
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=_MULTI_BYTE).best()
    return found.encoding if found is not None else None


def _words(text: str) -> Iterator[str]:
    for count, match in enumerate(_WORD.finditer(text)):
        if count == _MOST_WORDS:
            return
        yield match.group()


def _score(text: str, letters: str) -> float:
    """How much like words a decoding looks: 1 is text, below 0 is noise.

    A word is judged by what a wrong code page does to it: signs between letters, capitals after small letters, two
    scripts in one word, and Latin words made of nothing but accented letters.
    """
    total, count = 0.0, 0
    known = set(letters) | set(letters.upper())
    for word in _words(text):
        count += 1
        own = [c for c in word if ord(c) > 127]
        plain = [c for c in word if c.isascii() and c.isalpha()]
        foreign = [c for c in own if c.isalpha() and not unicodedata.name(c, "").startswith("LATIN")]
        score = sum(1.0 if c in known else -0.5 for c in own) / len(own)
        signs = [i for i, c in enumerate(word) if ord(c) > 127 and not c.isalpha() and c not in "’·-–"]
        score -= sum(1.0 for i in signs if word[i + 1 : i + 2].isalpha() or (i and word[i - 1].isalpha()))
        score -= sum(1.0 for a, b in pairwise(word) if a.islower() and b.isupper())
        if foreign and plain:
            score -= 2.0
        if not foreign and len(own) >= 3 and len(own) > 2 * len(plain):
            score -= 2.0
        total += score
    return total / count if count else 0.0
