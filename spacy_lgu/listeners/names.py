"""What the names of spacy-transformers lead to: its own functions where it is in use, else ours.

An entry point comes before what is registered by a decorator, as spacy-transformers does it.
"""

from typing import TYPE_CHECKING

from .stock import USES_STOCK

if TYPE_CHECKING or not USES_STOCK:
    from .annotation_setters import null_annotation_setter_v1
    from .building import transformer_listener_v1
    from .factory import make_transformer
    from .span_getters import doc_spans_v1, sent_spans_v1, strided_spans_v1
else:
    from spacy_transformers import annotation_setters, architectures, span_getters
    from spacy_transformers.pipeline_component import make_transformer

    null_annotation_setter_v1 = annotation_setters.configure_null_annotation_setter
    transformer_listener_v1 = architectures.transformer_listener_tok2vec_v1
    doc_spans_v1 = span_getters.configure_get_doc_spans
    sent_spans_v1 = span_getters.configure_get_sent_spans
    strided_spans_v1 = span_getters.configure_strided_spans

__all__ = [
    "doc_spans_v1",
    "make_transformer",
    "null_annotation_setter_v1",
    "sent_spans_v1",
    "strided_spans_v1",
    "transformer_listener_v1",
]
