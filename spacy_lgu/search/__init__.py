"""Finds which layer groups of a decoder to open for a task, by trials that are ordinary trainings.

A strategy (exhaustive, halving, greedy, oneshot, gates) proposes trials from the outcomes so far;
running.py has them run in processes and keeps every outcome before the next one begins.
"""
