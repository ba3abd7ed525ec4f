"""Readers of annotated corpora, and the way from what they read to spaCy's Docs.

file - reader (one per format) -> AnnotatedText - tokenizing -> TokenizedText - docs -> Doc
                               -> TokenizedText ------------------------------^
"""
