"""Every number of a report computed a second time, from its CSV files, by other code than made it.

`bench.stats` and `bench.evaluation` are not imported here: what is wrong there must not be wrong here too.
"""
