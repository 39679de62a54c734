"""`python -m bench drift`: our drift test beside Evidently, alibi-detect, river, on real text."""
