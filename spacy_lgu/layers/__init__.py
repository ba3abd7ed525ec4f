"""The decoder and the head as thinc layers, from Docs to vectors and logits."""
