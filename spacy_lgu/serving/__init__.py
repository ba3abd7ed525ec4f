"""Trained pipelines behind HTTP: texts of requests that arrive together share a forward pass."""
