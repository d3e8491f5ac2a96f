"""SQLAlchemy: engines with pools, the ORM, savepoints, server-side cursors, reflection, over psycopg and asyncpg."""
import asyncio
import sys

# The scripts beside this one have the names of drivers.
del sys.path[0]

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

port, database = sys.argv[1:3]
address = f"postgres:password@127.0.0.1:{port}/{database}"


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40), unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


for driver in ("psycopg", "psycopg2", "pg8000"):
    engine = sa.create_engine(f"postgresql+{driver}://{address}", pool_size=3, max_overflow=0)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Author(name=f"a{i}", books=[Book(title=f"t{i}{j}") for j in range(3)]) for i in range(20)])
        session.commit()
        found = session.scalars(sa.select(Author).where(Author.name == "a7")).one()
        assert [book.title for book in found.books] == ["t70", "t71", "t72"]
        found.name = "renamed"
        session.flush()
        assert session.scalar(sa.select(sa.func.count()).where(Author.name == "renamed")) == 1
        session.rollback()
        assert session.scalar(sa.select(sa.func.count()).where(Author.name == "renamed")) == 0
        try:
            with session.begin_nested():
                session.add(Author(name="a1"))
                session.flush()
        except sa.exc.IntegrityError:
            pass
        session.add(Author(name="after the savepoint"))
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).select_from(Author)) == 21
        session.execute(sa.update(Book).where(Book.title.like("t1%")).values(title="same"))
        session.delete(session.scalars(sa.select(Author).where(Author.name == "a2")).one())
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).where(Book.title == "same")) == 33
    # Several connections of the pool at once, with settings of their own.
    with engine.connect() as one, engine.connect() as two:
        one.execute(sa.text("SET work_mem = '7MB'"))
        one.commit()
        assert two.scalar(sa.text("SHOW work_mem")) == "4MB"
        two.rollback()
        assert one.scalar(sa.text("SHOW work_mem")) == "7MB"
        one.rollback()
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM author"))
    if driver != "pg8000":
        with engine.connect().execution_options(stream_results=True, max_row_buffer=7) as connection:
            rows = connection.execute(sa.text("SELECT generate_series(1, 500)"))
            assert sum(row[0] for row in rows) == 125250
    reflected = sa.MetaData()
    reflected.reflect(engine)
    assert set(reflected.tables) == {"author", "book"}
    engine.dispose()


async def asynchronous():
    engine = create_async_engine(f"postgresql+asyncpg://{address}", pool_size=3)

    async def work(number):
        async with engine.begin() as connection:
            await connection.execute(sa.insert(Author), [{"name": f"async {number} {i}"} for i in range(5)])
        async with engine.connect() as connection:
            count = sa.select(sa.func.count()).where(Author.name.like(f"async {number} %"))
            assert await connection.scalar(count) == 5

    await asyncio.gather(*(work(number) for number in range(12)))
    await engine.dispose()


asyncio.run(asynchronous())
