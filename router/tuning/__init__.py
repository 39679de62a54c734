"""OpenAI's files and fine-tuning API, for each tenant: what is asked becomes rows of the registry,
for a worker to take; what the rows say is told back in OpenAI's words. Not on the hot path."""
