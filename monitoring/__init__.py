"""Floor 1: what is measured, and what follows from it.

Every Prometheus metric of every process, sketches of prompts, the drift test, the controller that
turns evidence into retraining, and the dashboards and alert rules, all by code. Knows the registry;
nothing about HTTP requests, engines or training.
"""
