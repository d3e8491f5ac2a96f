"""asyncpg: the extended protocol in binary, everything prepared."""
import asyncio
import sys

# This file has the driver's name: without its own directory the driver is found.
sys.path.pop(0)
import asyncpg  # noqa: E402

address = {
    "host": "127.0.0.1",
    "port": int(sys.argv[1]),
    "user": "postgres",
    "password": "password",
    "database": sys.argv[2],
}


async def main():
    conn = await asyncpg.connect(**address)
    assert await conn.fetchval("SELECT $1::int + 1", 41) == 42
    await conn.execute("CREATE TABLE asyncpg (a int PRIMARY KEY, b text, c timestamptz DEFAULT now())")
    await conn.executemany("INSERT INTO asyncpg VALUES ($1, $2)", [(i, f"row {i}") for i in range(100)])

    async with conn.transaction():
        await conn.execute("INSERT INTO asyncpg VALUES (200, 'x')")
        assert await conn.fetchval("SELECT b FROM asyncpg WHERE a = 200") == "x"
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO asyncpg VALUES (200, 'again')")
        except asyncpg.UniqueViolationError:
            pass
        rows = [row["a"] async for row in conn.cursor("SELECT a FROM asyncpg WHERE a < 100 ORDER BY a", prefetch=7)]
        assert rows == list(range(100))
        cursor = await conn.cursor("SELECT a FROM asyncpg ORDER BY a")
        assert len(await cursor.fetch(10)) == 10
        assert (await cursor.fetchrow())["a"] == 10
    for isolation in ("serializable", "repeatable_read", "read_committed"):
        for readonly in (False, True):
            async with conn.transaction(isolation=isolation, readonly=readonly):
                assert await conn.fetchval("SELECT count(*) FROM asyncpg") == 101

    statement = await conn.prepare("SELECT b FROM asyncpg WHERE a = $1")
    for i in range(20):
        assert await statement.fetchval(i) == f"row {i}"
    assert await conn.fetchval("SELECT array_agg(a ORDER BY a) FROM asyncpg WHERE a < 3") == [0, 1, 2]

    await conn.copy_records_to_table("asyncpg", records=[(i, "copied") for i in range(1000, 2000)], columns=["a", "b"])
    size = 0

    async def take(data):
        nonlocal size
        size += len(data)

    assert await conn.copy_from_query("SELECT a, b FROM asyncpg WHERE a >= $1", 1000, output=take) == "COPY 1000"
    assert size > 10000
    try:
        await conn.fetchval("SELECT 1/0")
    except asyncpg.DivisionByZeroError:
        pass

    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("asyncpg", lambda *args: heard.done() or heard.set_result(args[3]))
    async with asyncpg.create_pool(min_size=2, max_size=5, **address) as pool:
        await asyncio.gather(*(pool.fetchval("SELECT count(*) FROM asyncpg") for _ in range(50)))
        await pool.execute("SELECT pg_notify('asyncpg', 'hello')")
    assert await asyncio.wait_for(heard, 60) == "hello"
    try:
        await conn.execute("SELECT count(*) FROM generate_series(1, 1000000000000)", timeout=0.3)
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("SELECT 1") == 1
    await conn.close()


asyncio.run(main())
