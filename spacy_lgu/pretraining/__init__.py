"""Language modelling on raw text: torch side, never imports spaCy or thinc."""
