"""The page on which a person tries a pipeline: one file, which loads nothing from elsewhere."""

import base64
import hashlib
import re
from importlib.resources import files

HTML = files(__package__).joinpath("page.html").read_text("utf8")


def _digest(tag: str) -> str:
    """RETURNS (str): What is inside the only element of a name, as a policy names it."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    found = base64.b64encode(hashlib.sha256(content.encode("utf8")).digest())
    return f"'sha256-{found.decode('ascii')}'"


# The page's own script and no other, whatever a text or a label holds. displaCy's HTML has its
# colours in attributes.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        f"script-src {_digest('script')}",
        f"style-src-elem {_digest('style')}",
        "style-src-attr 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
