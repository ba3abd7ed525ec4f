"""Tags of tokens: decoding, probabilities, calibration. Pure numpy, never imports spaCy."""
