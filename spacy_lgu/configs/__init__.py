"""A config to begin with: values chosen for a decoder, a machine and heads, with the reasons."""
