"""What a pipeline or a decoder is and would cost here, without loading a weight."""
