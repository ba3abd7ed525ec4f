"""What a service allows, and what it has at once."""

import ipaddress
from dataclasses import dataclass, fields

# Characters of a token that lets somebody in.
_LEAST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a service. Raises ValueError for numbers that cannot be.

    max_batch_subtokens (int): Most subtokens of a batch. A text with more is a batch by itself.
    max_batch_texts (int): Most texts of a batch; 1: requests do not share a pass.
    max_wait (float): Seconds that a batch which is not full waits for more.
    max_queue (int): Most requests that wait.
    max_body (int): Most bytes of a request.
    max_texts (int): Most texts of a request.
    max_characters (int): Most characters of a request, in all its texts.
    timeout (float): Seconds for a request: to arrive, and then to be answered.
    """

    max_batch_subtokens: int = 4096
    max_batch_texts: int = 128
    max_wait: float = 0.0
    max_queue: int = 256
    max_body: int = 2**20
    max_texts: int = 1000
    max_characters: int = 100_000
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "max_wait" and not 0 < value < float("inf"):
                option = f"--{field.name.replace('_', '-')}"
                raise ValueError(f"Expected {option} to be more than 0, but got {value:g}.")
        if not 0 <= self.max_wait < self.timeout:
            raise ValueError(
                "Expected --max-wait to be from 0 to less than --timeout, which is "
                f"{self.timeout:g} seconds, but got {self.max_wait:g}."
            )


def check_token(token: str, where: str) -> str:
    """A token that clients must send.

    token (str): As it was read; white space around it is no part of it.
    where (str): Where it stands, for messages, which never show it.
    RETURNS (str): The token. Raises ValueError for one that is easy to guess or that no header can
        hold.
    """
    token = token.strip()
    if len(token) < _LEAST_TOKEN:
        raise ValueError(
            f"Expected a token of at least {_LEAST_TOKEN} characters in {where}, but it has "
            f"{len(token)}. For instance: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'."
        )
    if not all("!" <= c <= "~" for c in token):
        raise ValueError(
            f"Expected a token of ASCII letters, digits and signs in {where}, without white space "
            "between them, but there are other characters."
        )
    return token


def is_loopback(host: str) -> bool:
    """RETURNS (bool): Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
