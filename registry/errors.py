"""Everything that the registry raises.

RegistryError
├── NotFound              the noun named does not exist (for this tenant)
├── AlreadyExists         the name is taken
├── InvalidName           a name that would not be safe in a URL, a path or a label
├── InvalidValue          a field can't have the value asked for (`field` names it)
├── InvalidTransition     a version, job or key can't go from its state to the one asked for
├── NotServable           a version can't take the place in traffic that was asked for
├── NothingBefore         there is no earlier version to roll an alias back to
├── TooManyJobs           the tenant has as many jobs under way as it may
├── LeaseLost             a job is not (or no longer) held by the worker that says so
├── Superseded            somebody else wrote what was to be written, since it was read
├── SchemaOutdated        the database is at another revision than this code
├── DatabaseUnavailable   the database is gone, locked, full or unreadable: try again later
└── StoreError
    ├── ContentMissing    no object with that digest
    ├── ContentCorrupted  an object's bytes do not have the digest they are filed under
    │   └── UnsafeContent a manifest names files that would lie outside of its folder
    └── AmbiguousDigest   a digest prefix matches several objects

Messages say what, where and what was expected; none of them contains a key or a tenant's text.
"""


class RegistryError(Exception):
    """Base of all registry errors."""


class NotFound(RegistryError):
    """The noun named does not exist."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"{noun} {shown(name)} does not exist")
        self.noun = noun
        self.name = name


class AlreadyExists(RegistryError):
    """The name is taken."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"{noun} {shown(name)} exists already")
        self.noun = noun
        self.name = name


class InvalidName(RegistryError):
    """A name that would not be safe in a URL, a path or a metric label."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(
            f"{noun} name {shown(name)} is not valid: expected 1–63 characters of a–z, 0–9 "
            "and '-', starting with a letter or digit"
        )
        self.noun = noun


class InvalidValue(RegistryError, ValueError):
    """A field can't have the value asked for."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field} {shown(value)}: expected {expected}")
        self.field = field


class NotServable(RegistryError):
    """A version can't take the place in traffic that was asked for."""

    def __init__(self, version: str, place: str, reason: str) -> None:
        super().__init__(f"version {version} can't be {place}: {reason}")


class NothingBefore(RegistryError):
    """There is no earlier version to roll an alias back to."""

    def __init__(self, alias: str) -> None:
        super().__init__(
            f"alias {alias} has no version before the one that is live: name the one to go back to"
        )


class InvalidTransition(RegistryError):
    """A version, job or key can't go from its state to the one asked for."""

    def __init__(self, noun: str, name: str, state: str, wanted: str) -> None:
        super().__init__(f"{noun} {name} is {state!r} and can't become {wanted!r}")


class TooManyJobs(RegistryError):
    """The tenant has as many jobs under way as it may."""

    def __init__(self, tenant: str, most: int) -> None:
        super().__init__(f"tenant {tenant} has {most} jobs that are not over, which is the most")
        self.most = most


class LeaseLost(RegistryError):
    """A job is not (or no longer) held by the worker that says so."""

    def __init__(self, job: str, worker: str) -> None:
        super().__init__(f"job {job} is not held by worker {worker!r}: its lease ran out or moved")


class Superseded(RegistryError):
    """Somebody else wrote what was to be written, since it was read."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"{noun} {shown(name)} was written by another process since it was read")


class SchemaOutdated(RegistryError):
    """The database is at another revision than this code."""

    def __init__(self, found: str | None, expected: str) -> None:
        super().__init__(
            f"the registry's schema is at revision {found or 'none'}, this version of Switchyard "
            f"expects {expected}: run `switchyard registry migrate`"
        )


class DatabaseUnavailable(RegistryError):
    """The database is gone, locked, full or unreadable. What was written is not there."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"the registry's database {where} can't be used: {reason} (is it running, and is "
            "SWITCHYARD_REGISTRY_DATABASE_URL right?)"
        )


class StoreError(RegistryError):
    """Base of the content store's errors."""


class ContentMissing(StoreError):
    """No object with that digest."""

    def __init__(self, digest: str, where: str) -> None:
        super().__init__(f"no content {digest[:12]}… in {where}")


class ContentCorrupted(StoreError):
    """An object's bytes do not have the digest they are filed under."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(
            f"{name} is corrupted: its SHA-256 is {found[:12]}…, its manifest says {expected[:12]}…"
        )


class UnsafeContent(ContentCorrupted):
    """A manifest names files that would lie outside of its folder."""

    def __init__(self, digest: str, name: object) -> None:
        StoreError.__init__(
            self,
            f"adapters/{digest[:12]}… is not safe to read: its manifest names {name!r}, expected "
            "names of files inside the folder",
        )


class AmbiguousDigest(StoreError):
    """A digest prefix matches several objects."""

    def __init__(self, prefix: str, matches: int) -> None:
        super().__init__(f"digest prefix {prefix!r} matches {matches} objects: give more digits")


def shown(value: object, longest: int = 80) -> str:
    """A value as a message may repeat it: escaped, and cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
