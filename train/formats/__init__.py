"""Training data in the files that it lies in; which shape a record has is registry.examples's.

Pure but for `containers`, which reads files. No torch, no tokens. Start at `train.formats.reading`.
"""
