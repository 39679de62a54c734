"""Floor 1: what is measured: every Prometheus metric, drift, the retrain decision, dashboards and alert rules."""
