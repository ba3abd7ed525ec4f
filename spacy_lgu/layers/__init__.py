"""From Docs to vectors, as thinc layers: subtokens, windows, the decoder, one row per token."""
