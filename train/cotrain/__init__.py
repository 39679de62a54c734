"""Co-training: adapters of several jobs learn at once on one copy of the base, in one process.

What is shared is the frozen base and the step's overhead; rows, weights, optimiser, schedule, draws
and early stop are each job's own. An adapter comes out as it would alone, within rounding.
"""
