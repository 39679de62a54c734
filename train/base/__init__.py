"""The recipe of switchyard-tiny: corpus, tokenizer, training loop and evaluation.

Knows nothing about tenants, adapters or the registry. Importing this package imports no torch.
"""
