"""Files: what tenants upload. The row is here, the bytes are a blob in the content store."""

from __future__ import annotations

from sqlalchemy import ForeignKey, delete, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from registry.contents import Content, Contents
from registry.database import Base, Database, now, queue
from registry.errors import NotFound
from registry.names import new_id


class File(Base):
    """An uploaded file; `digest` is the SHA-256 of its bytes and its name in the store."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("file-"))
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(default="fine-tune")
    filename: Mapped[str]
    bytes: Mapped[int]
    digest: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=now)


class Files:
    """Files in the registry."""

    def __init__(self, database: Database, contents: Contents) -> None:
        self._database = database
        self._contents = contents

    def add(
        self, tenant: str, filename: str, digest: str, size: int, purpose: str = "fine-tune"
    ) -> File:
        """Note a file whose bytes are in the store already. Look afterwards whether they still are:
        the last other file that has them may have been deleted meanwhile."""
        file = File(tenant=tenant, filename=filename, digest=digest, bytes=size, purpose=purpose)
        with self._database.write() as session:
            queue(session, "contents")
            session.add(file)
        return file

    def get(self, tenant: str, file_id: str) -> File:
        """Raises NotFound, also for another tenant's file."""
        with self._database.read() as session:
            file = session.get(File, file_id)
        if file is None or file.tenant != tenant:
            raise NotFound("file", file_id)
        return file

    def all(self, tenant: str) -> list[File]:
        """Newest first."""
        query = select(File).where(File.tenant == tenant).order_by(File.created_at.desc(), File.id)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def page(
        self,
        tenant: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        newest_first: bool = True,
    ) -> tuple[list[File], bool]:
        """Up to `limit` files behind the one with the id `after`, and whether there are more.

        Raises NotFound for an `after` that is no file of the tenant's.
        """
        query = select(File).where(File.tenant == tenant)
        if purpose is not None:
            query = query.where(File.purpose == purpose)
        if after is not None:
            last = self.get(tenant, after)
            here, there = tuple_(File.created_at, File.id), (last.created_at, last.id)
            query = query.where(here < there if newest_first else here > there)
        order = (File.created_at, File.id)
        query = query.order_by(*(column.desc() if newest_first else column for column in order))
        with self._database.read() as session:
            found: list[File] = [*session.scalars(query.limit(limit + 1))]
        return found[:limit], len(found) > limit

    def delete(self, tenant: str, file_id: str) -> None:
        """Remove the row, and the bytes from the store unless another row has the same. Raises
        NotFound."""
        file = self.get(tenant, file_id)
        with self._database.write() as session:
            session.execute(delete(File).where(File.id == file_id))
        self._contents.drop([Content("blob", file.digest)])
