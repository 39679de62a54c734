"""`python -m bench drift`: our drift test beside Evidently, alibi-detect and river, on real text."""
