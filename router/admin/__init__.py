"""The admin API: tenants, keys, aliases, versions and engines over HTTP, for the platform team.

On a port of its own with a key of its own, in a thread of its own beside the tenants' server. Works
on the registry only: routers read what it writes, within a second. Knows nothing about routing.
"""
