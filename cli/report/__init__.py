"""`switchyard report`: what happened, as one HTML page, for people without Grafana."""
