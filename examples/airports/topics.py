"""What may be asked: topics of the form `airport:JFK`."""

import re

# ASCII only, and before upper-casing: "ſ".upper() is "S", which would let a code through that nobody typed.
_TOPIC = re.compile(r"airport:([A-Za-z]{3})")


def iata_code(topic: str) -> str:
    """Return the IATA code that a topic asks about, in upper case.

    Args:
        topic: `airport:` and the three letters of an IATA code, in either case.

    Raises:
        ValueError: the topic is anything else; the message says what is expected.

    >>> iata_code("airport:jfk")
    'JFK'
    """
    match = _TOPIC.fullmatch(topic)
    if match is None:
        # Whoever shows this names the topic, too.
        raise ValueError("expected airport: and the three letters of an IATA code, for example airport:JFK")
    return match[1].upper()


def canonical(topic: str) -> str:
    """Return the one spelling of a topic, so that `airport:jfk` and `airport:JFK` are the same question.

    Args:
        topic: as for `iata_code`.

    Raises:
        ValueError: as for `iata_code`.

    >>> canonical("airport:jfk")
    'airport:JFK'
    """
    return f"airport:{iata_code(topic)}"
