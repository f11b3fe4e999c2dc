"""Positions in PostgreSQL's WAL. As it writes them (`0/3000148`) they can be shown, as numbers of bytes compared."""


def lsn_number(text: str) -> int:
    """An LSN as PostgreSQL writes it, as a number of bytes. ValueError when it is none."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no LSN")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
