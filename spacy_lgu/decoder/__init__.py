"""The decoder: packing, attention, loading, adapters, its folder. Torch alone, never spaCy."""
