"""The GGUF format as numbers: limits, value and tensor types, and what other files look like."""

from __future__ import annotations

import struct
from collections.abc import Mapping

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
#: the metadata value types that are not numbers
STRING, ARRAY, BOOL = 8, 9, 7

# The largest vocabularies in use (262,144 tokens) have headers of about 20 MB.
MAX_HEADER_BYTES = 128 * 1024 * 1024
MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_KEY_BYTES = 65_535
MAX_ENTRIES = 65_536
MAX_TENSORS = 65_536
MAX_TENSOR_NAME_BYTES = 63
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 65_536
#: arrays of numbers up to this length are values; longer ones, and those of strings, are skipped
MAX_ARRAY_VALUES = 1024
#: no more than MAX_ARRAY_VALUES, so that what is given per layer is read
MAX_LAYERS = 1024
#: an upper bound of the other counts that memory is computed from: heads, dimensions, context
MAX_HYPERPARAMETER = 1 << 24

#: metadata value type -> how one number of it is stored
NUMBERS: Mapping[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    BOOL: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
U32 = NUMBERS[4]
U64 = NUMBERS[10]

#: tensor type -> (name, elements per block, bytes per block)
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

_LABELS = """
F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K
IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 - - -
TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0
"""
#: general.file_type -> the label that quantizers give the whole file
FILE_TYPES: Mapping[int, str] = {
    number: label for number, label in enumerate(_LABELS.split()) if label != "-"
}

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!doctype", "a web page, so the download gave an error or a login"),
    (b"<html", "a web page, so the download gave an error or a login"),
    (b"<?xml", "an XML answer, so the download gave an error"),
    (
        b"pk\x03\x04",
        "a zip archive (a PyTorch checkpoint or a wheel): unpack or convert it to GGUF",
    ),
    (b"\x80\x02", "a Python pickle (an old PyTorch checkpoint): convert it to GGUF"),
    (b"\x1f\x8b", "gzip-compressed: unpack it"),
    (b"lmgg", "of the old GGML format, before GGUF: convert the model again"),
    (b"fmgg", "of the old GGMF format, before GGUF: convert the model again"),
    (b"tjgg", "of the old GGJT format, before GGUF: convert the model again"),
    (b'{"', "JSON text"),
    (b"algg", "of the old GGLA adapter format: convert the adapter again"),
)


def foreign_format(head: bytes) -> str:
    """What a file that is not GGUF seems to be, and what to do; ``head`` is its first bytes."""
    if not head.strip(b"\0"):
        return "full of zero bytes: an interrupted download" if head else "empty"
    lowered = head.lstrip().lower()
    for beginning, what in _BEGINNINGS:
        if lowered.startswith(beginning):
            return what
    if head[8:9] == b"{" and U64.unpack_from(head)[0] <= 100_000_000:
        return "a safetensors file: convert it to GGUF"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a"):
        return "an ONNX model, which this build does not run: use the GGUF of the same model"
    return "of another kind: it does not begin with the letters GGUF"
