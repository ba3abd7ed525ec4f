"""What came of a study, as tables and pictures."""
