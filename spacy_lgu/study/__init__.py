"""A study: which systems are trained on which corpora, run by run, and what came of it."""
