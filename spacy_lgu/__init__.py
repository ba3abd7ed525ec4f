"""Decoder-only language models with layer group unmasking as spaCy transformer components."""

import logging

# `spacy train` silences spaCy's own logger below errors; what is trained and which layers see the
# future must be seen. Set the level of the logger "spacy_lgu" to silence it.
_handler = logging.StreamHandler()
_handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)s] %(message)s"))
_logger = logging.getLogger(__name__)
_logger.addHandler(_handler)
_logger.setLevel(logging.INFO)
