"""The audit of a data set, before anything is spent on it: rows in, findings out.

Pure functions over rows that `train.rows` has read; no torch, no network, no model but the base's
tokenizer. Start at `train.audit.audit`.
"""
