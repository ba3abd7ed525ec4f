"""How a trained pipeline travels: with or without its base, as a plain decoder, over the hub."""
