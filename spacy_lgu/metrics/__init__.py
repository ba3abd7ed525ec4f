"""How good predictions are, and how sure that is: strict F1, seeds, t-test and bootstrap."""
