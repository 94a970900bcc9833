"""Which exhibit of the museum of bugs has which cause, so written that nobody reads it by accident.

Students of a course do not get this file.
"""

from hashlib import sha256


def fingerprint(number: str, cause: str) -> str:
    """What is stored in place of an answer."""
    return sha256(f"museum {number} {cause}".encode()).hexdigest()[:12]


ANSWERS = frozenset(
    {
        "0526e93661bd",
        "2a3b2425becc",
        "3aaaf5be5ee3",
        "479cd274dfd4",
        "60190f435ef7",
        "850b4694e770",
        "8b75e7f838a2",
        "8c0fb2118ee2",
        "902a3d037b07",
        "93387104b7ec",
        "9a2590af2603",
        "ba20fa081422",
        "c2ef9c358d50",
        "d180d4bba17e",
        "d5a295f03c95",
        "d79861cbbdfd",
        "f4c07f9447f9",
    }
)
