"""What a file holds, by its first bytes: text is decoded, compressed text unpacked, anything else named."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from aila_jax.data.documents import unix_line_ends

_UNPACKED: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
}
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
_EXPORT = "save it as plain text in the program that made it"
# First bytes, what they begin, and the advice that fits; {name} is the file's.
_OTHERS = (
    (b"\x28\xb5\x2f\xfd", "compressed (Zstandard)", "unpack it: zstd -d {name}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x {name}"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it: unrar x {name}"),
    (b"\x04\x22\x4d\x18", "compressed (LZ4)", "unpack it: lz4 -d {name}"),
    (b"%PDF-", "a PDF", "take its text out: pdftotext {name}"),
    (b"{\\rtf", "rich text (RTF)", _EXPORT),
    (b"%!PS", "PostScript", "take its text out: ps2ascii {name}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", _EXPORT),
    (b"PAR1", "a Parquet table", "write its text as JSON lines: pandas.read_parquet('{name}')"
     ".to_json('new.jsonl', orient='records', lines=True)"),
    (b"ARROW1", "an Arrow table", "write its text as JSON lines, one object a line"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write its text to a file of its own"),
    (b"\x93NUMPY", "a NumPy array", "write its text to a file of its own"),
    (b"SQLite format 3\x00", "an SQLite database", "write its text as JSON lines, one object a line"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", "leave it out of the data files"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "leave it out of the data files"),
    (b"GIF8", "a picture (GIF)", "leave it out of the data files"),
    (b"\x7fELF", "a program (ELF)", "leave it out of the data files"),
)  # fmt: skip
_MARKUP = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(!doctype\s+html|html[\s>]|\?xml\s)", re.IGNORECASE | re.DOTALL)
_HEAD = 4096  # bytes that are looked at
_COUNTED = 64  # bytes from which on zeros are counted: a few say nothing


def read_content(path: Path, by_content: bool = True) -> tuple[str, str]:
    """The text of a file, its lines ended by newlines, and its name, without the suffix of what it was packed
    with.

    gzip, bzip2 and xz are unpacked.

    Args:
      by_content: look at the first bytes; otherwise anything that is UTF-8 is text.

    Raises:
      ValueError: the file holds no UTF-8 text; the message says what it holds, and what to do.
    """
    data, name = path.read_bytes(), path.name
    if not by_content:
        return unix_line_ends(decode_text(data, path)), name
    for start, (kind, unpack) in _UNPACKED.items():
        if data.startswith(start):
            data = _unpacked(data, kind, unpack, path)
            name = Path(name).stem if path.suffix.lower() in _PACKED_SUFFIXES else name
            break
    found = _something_else(data)
    if found is not None:
        what, fix = found
        raise ValueError(f"{path} is {what}; it must be UTF-8 text. Fix: {fix.format(name=path.name)}")
    return unix_line_ends(decode_text(data, path)), name


def decode_text(data: bytes, path: Path) -> str:
    """The UTF-8 content of the file `path`, without a byte-order mark.

    Raises:
      ValueError: `data` is not UTF-8; the message names byte, offset and what to do, which depends on the
        bytes.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} ({error.reason}). "
            f"Fix: {_conversion(data, error, path)}"
        ) from error
    return text.removeprefix("\ufeff")


def _unpacked(data: bytes, kind: str, unpack: Callable[[bytes], bytes], path: Path) -> bytes:
    try:
        return unpack(data)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(
            f"{path} is compressed ({kind}) and cannot be unpacked ({error}). Fix: copy or download it again"
        ) from error


def _something_else(data: bytes) -> tuple[str, str] | None:
    """What the bytes are, if no text, and what to do about it."""
    for start, what, fix in _OTHERS:
        if data.startswith(start):
            return what, fix
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_content(data)
    if data[257:262] == b"ustar":
        return "a tar archive", "unpack it: tar xf {name}"
    if (markup := _MARKUP.match(data[:_HEAD])) is not None:
        kind = "XML" if markup[1].startswith(b"?") else "HTML"
        return kind, (
            "take its text out, with pandoc -t plain, say, or read it as it is with"
            " --config.data.file_kinds=suffix"
        )
    encoding = _utf16(data)
    if encoding:
        return f"text in {encoding.upper()}", (
            f"convert it: iconv -f {encoding} -t utf-8 {{name}} > new_{{name}}"
        )
    if len(data) >= _COUNTED and data[:_HEAD].count(0) > len(data[:_HEAD]) // 10:
        return "no text: many of its bytes are 0", "leave it out of the data files"
    return None


def _zip_content(data: bytes) -> tuple[str, str]:
    """A zip file is an archive, or a document of a word processor or an e-book, which are zip files too."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "a damaged zip archive", "copy or download it again"
    if "[Content_Types].xml" in names or "mimetype" in names:
        return "a document (docx, odt, epub or the like)", _EXPORT
    return "a zip archive", "unpack it: unzip {name}"


def _utf16(data: bytes) -> str:
    """The encoding, for text of two or four bytes a character, by its mark or its many zeros; or empty."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return encoding
    head = data[:_HEAD]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) >= _COUNTED and max(even, odd) >= 0.3 * len(head) and min(even, odd) <= 0.02 * len(head):
        return "utf-16be" if even > odd else "utf-16le"
    return ""


def _conversion(data: bytes, error: UnicodeDecodeError, path: Path) -> str:
    """The command that makes UTF-8 of these bytes."""

    def command(options: str) -> str:
        return f"iconv {options} -t utf-8 {path.name} > new_{path.name}"

    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f"convert it: {command('-f utf-16')}"
    if any(byte < 32 and byte not in b"\t\n\r\f\v\x1b" for byte in data[:_HEAD]):
        return "convert it to text, or leave it out: it holds control bytes, as no text does"
    if error.reason == "unexpected end of data":
        return f"convert it without the character that is cut off at its end: {command('-c -f utf-8')}"
    before = data[: error.start]
    if not before.isascii():  # latin1 would garble every character that is UTF-8
        return "convert it; it is UTF-8 before that byte, so drop what is not: " + command("-c -f utf-8")
    windows = any(0x80 <= byte < 0xA0 for byte in data)
    encoding = "windows-1252" if windows else "latin1"
    return (
        f"convert it, for instance with: {command(f'-f {encoding}')} (if its language is western European;"
        " otherwise name its encoding)"
    )
