"""Training data in the forms that it comes in: which shape a record has, and the files it lies in.

Pure but for `containers`, which reads files. No torch, no tokens. Start at `train.formats.reading`.
"""
