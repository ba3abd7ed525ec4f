"""A corpus through a pipeline, shard by shard, on one machine or many.

A shard is a number of adjacent records of one file. It is written as a whole, and a run that was
killed goes on with those that are missing.
"""
