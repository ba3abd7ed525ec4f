"""Decoder-only language models with layer group unmasking as spaCy transformer components."""

import logging


def _has_no_other_handler(record: logging.LogRecord) -> bool:
    return not logging.getLogger().handlers


# `spacy train` silences spaCy's own logger below errors; what is trained and which layers see the
# future must be seen. Set the level of the logger "spacy_lgu" to silence it.
_handler = logging.StreamHandler()
_handler.addFilter(_has_no_other_handler)
_handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)s] %(message)s"))
_logger = logging.getLogger(__name__)
_logger.addHandler(_handler)
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.INFO)
