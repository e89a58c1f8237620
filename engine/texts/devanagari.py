"""One spelling for what looks the same: Devanagari that an old program, font or keyboard has written in its own way.

Real Marathi files hold all of these: of the 2,393 different headlines in MahaNews's validation file (SHC), 146 are UTF-8 that was
read as the code page of a Russian DOS, and 46 spell a vowel with two signs. To a tokenizer they are other words, or none.

Sources: The Unicode Standard 17.0, chapter 12.1, tables 12-1 (vowels that must not be written with two characters) and R2/R5
(the half ra of ऱ्य, once र + virama + joiner); Unicode Standard Annex 15 for NFC.
"""

import codecs
import re
import unicodedata

_CODE_PAGES = ("cp866", "cp1252", "latin-1", "cp437", "cp1251", "mac-roman")
"""What UTF-8 has been mistaken for, in the order of trial; cp866 is what the published MahaNews files were passed through."""
_MISREAD = re.compile("[рЁ\u2500-\u257fа-п]{2}|à[\xa4\xa5¤¥]|α[ñÑ]|‡[§•]|аҐ|а¤")
"""The first two bytes of a Devanagari letter in UTF-8 (E0 A4, E0 A5) as each of those code pages shows them."""
_DEVANAGARI = re.compile("[\u0900-\u097f]")

_VOWELS = {
    "अ\u200dॅ": "ॲ",
    "अॅ": "ॲ",
    "एॅ": "ॲ",
    "अा": "आ",
    "अाॅ": "ऑ",
    "आॅ": "ऑ",
    "अॉ": "ऑ",
    "अो": "ओ",
    "आे": "ओ",
    "अौ": "औ",
    "आै": "औ",
    "एे": "ऐ",
    "ाॅ": "ॉ",
    "ॅा": "ॉ",
    "ाे": "ो",
    "ेा": "ो",
    "ाै": "ौ",
    "ैा": "ौ",
}
"""Vowels written as two signs or in the wrong order, and how Unicode has them."""
_VOWEL = re.compile("|".join(sorted(_VOWELS, key=len, reverse=True)))
_HALF_RA = re.compile("र्\u200d(?=[क-ह])|(?<=[\u0900-\u097f])º(?=[क-ह])")
"""The half ra of तिसऱ्या: as older Unicode wrote it, and as what legacy fonts leave behind."""
_ZERO_WIDTH = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphen, zero-width space, word joiner, byte order mark: they mean nothing within a text."""


def repair(text: str) -> str:
    """Return the text with Devanagari restored that was UTF-8 and was read as another code page; other texts as they are.

    A text is only changed where every character of it has a byte in one code page and those bytes are UTF-8 that holds
    Devanagari; chance does not produce that. An incomplete last letter, where the text was cut off, is dropped.
    """
    if _DEVANAGARI.search(text) or not _MISREAD.search(text):
        return text
    for page in _CODE_PAGES:
        try:
            restored = codecs.getincrementaldecoder("utf-8")().decode(_bytes(text, page))
        except UnicodeError:
            continue
        if _DEVANAGARI.search(restored):
            return restored
    return text


def _bytes(text: str, page: str) -> bytes:
    """Return the bytes of a text in a code page; those that the page leaves undefined are shown as themselves by programs."""
    found = bytearray()
    for character in text:
        try:
            found += character.encode(page)
        except UnicodeEncodeError:
            if not 0x80 <= ord(character) < 0xA0:
                raise
            found.append(ord(character))
    return bytes(found)


def spell(text: str) -> str:
    """Return the text in Unicode NFC, each vowel as one sign, the half ra as ऱ्, without characters of no width.

    The joiners stay elsewhere: in Devanagari they decide which form of a conjunct is shown.
    """
    text = unicodedata.normalize("NFC", _ZERO_WIDTH.sub("", text))
    while (spelled := _VOWEL.sub(lambda match: _VOWELS[match.group()], text)) != text:
        text = spelled  # one sign may now stand beside another: अाे is आे is ओ
    return _HALF_RA.sub("ऱ्", text)
