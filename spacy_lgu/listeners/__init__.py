"""How pipes read the vectors of a transformer component: what it writes, and what listens to it."""
