"""The components of a spaCy pipeline: transformer and sequence labeler, saved and packaged."""
