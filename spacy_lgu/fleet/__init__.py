"""Many pipelines on one base decoder in memory: texts for all of them in one forward pass."""

from .fleet import Fleet

__all__ = ["Fleet"]
