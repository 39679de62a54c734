"""Benchmarks: each puts Switchyard beside something else in one run and prints ratios.

Single figures move from machine to machine; ratios within a run are what to read and to compare.
"""
