"""spaCy's side: the components `lgu_transformer` and `sequence_labeler`, and their packaging."""
