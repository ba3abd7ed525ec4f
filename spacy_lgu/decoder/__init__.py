"""The decoder itself, from its files to its vectors: torch side, never imports spaCy or thinc."""
