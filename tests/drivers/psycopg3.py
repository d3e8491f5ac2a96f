"""psycopg 3: parameters, transactions, cursors, COPY, pipelines, prepared statements, notifications."""
import sys

import psycopg

conninfo = f"host=127.0.0.1 port={sys.argv[1]} user=postgres password=password dbname={sys.argv[2]}"

with psycopg.connect(conninfo, autocommit=True) as conn:
    assert conn.execute("SELECT %s::int + 1", (41,)).fetchone() == (42,)
    conn.execute("CREATE TABLE psycopg3 (a int PRIMARY KEY, b text)")
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO psycopg3 VALUES (%s, %s)", [(i, f"row {i}") for i in range(100)])
        cur.executemany("INSERT INTO psycopg3 VALUES (%s, %s) RETURNING a", [(200, "x"), (201, None)], returning=True)
        assert cur.fetchone() == (200,)

with psycopg.connect(conninfo) as conn:
    # A transaction that reads its own writes.
    conn.execute("INSERT INTO psycopg3 VALUES (300, 'x')")
    assert conn.execute("SELECT b FROM psycopg3 WHERE a = 300").fetchone() == ("x",)
    conn.rollback()
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with conn.transaction():
        conn.execute("UPDATE psycopg3 SET b = 'y' WHERE a = 200")
        try:
            with conn.transaction():
                conn.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero:
            pass
        assert conn.execute("SELECT b FROM psycopg3 WHERE a = 200 FOR UPDATE").fetchone() == ("y",)

    # Server-side cursors.
    with conn.cursor("named") as cur:
        cur.itersize = 7
        cur.execute("SELECT a FROM psycopg3 WHERE a < 100 ORDER BY a")
        assert [row[0] for row in cur] == list(range(100))
    conn.commit()

    # COPY in and out, in text and binary.
    with conn.cursor() as cur:
        with cur.copy("COPY psycopg3 FROM STDIN") as copy:
            for i in range(1000, 3000):
                copy.write_row((i, "copied " * 10))
        with cur.copy("COPY psycopg3 (a, b) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((5000, "binary"))
        with cur.copy("COPY (SELECT a FROM psycopg3 WHERE a >= 1000 ORDER BY a) TO STDOUT") as copy:
            assert len(list(copy.rows())) == 2001
        try:
            with cur.copy("COPY psycopg3 FROM STDIN") as copy:
                copy.write("no number\n")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        else:
            raise AssertionError("the copy should have failed")
    conn.rollback()

    # Pipelines.
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (i,)) for i in range(50)]
        insert = conn.execute("INSERT INTO psycopg3 VALUES (400, 'p') RETURNING a")
        assert [cur.fetchone()[0] for cur in cursors] == list(range(50))
        assert insert.fetchone() == (400,)
    conn.rollback()
    try:
        with conn.pipeline():
            conn.execute("SELECT 1")
            conn.execute("SELECT 1/0")
            conn.execute("SELECT 2")
    except psycopg.errors.DivisionByZero:
        pass
    else:
        raise AssertionError("the pipeline should have failed")
    conn.rollback()

    # Prepared statements, also over a rollback.
    for i in range(20):
        row = conn.execute("SELECT count(*) FROM psycopg3 WHERE a < %s", (i,), prepare=True).fetchone()
        assert row == (i,)
        if i == 10:
            conn.rollback()
    conn.commit()

with psycopg.connect(conninfo, autocommit=True) as conn, psycopg.connect(conninfo, autocommit=True) as other:
    conn.execute("LISTEN psycopg3")
    other.execute("SELECT pg_notify('psycopg3', 'hello')")
    notified = next(iter(conn.notifies(timeout=60, stop_after=1)))
    assert notified.payload == "hello", notified
    conn.execute("UNLISTEN *")

# Isolation levels and read-only sessions.
for level in psycopg.IsolationLevel:
    with psycopg.connect(conninfo) as conn:
        conn.isolation_level = level
        conn.read_only = False
        assert conn.execute("SELECT count(*) FROM psycopg3").fetchone() == (102,)
with psycopg.connect(conninfo) as conn:
    conn.read_only = True
    assert conn.execute("SELECT count(*) FROM psycopg3").fetchone() == (102,)
    try:
        conn.execute("DELETE FROM psycopg3")
    except psycopg.errors.ReadOnlySqlTransaction:
        pass
    else:
        raise AssertionError("the transaction is read only")
