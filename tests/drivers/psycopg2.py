"""psycopg2: the simple protocol only."""
import io
import select
import sys

# This file has the driver's name: without its own directory the driver is found.
sys.path.pop(0)
import psycopg2  # noqa: E402
import psycopg2.extras  # noqa: E402

conninfo = f"host=127.0.0.1 port={sys.argv[1]} user=postgres password=password dbname={sys.argv[2]}"
conn = psycopg2.connect(conninfo)
cur = conn.cursor()
cur.execute("SELECT %s + 1", (41,))
assert cur.fetchone() == (42,)
cur.execute("CREATE TABLE psycopg2 (a int PRIMARY KEY, b text)")
cur.executemany("INSERT INTO psycopg2 VALUES (%s, %s)", [(i, f"row {i}") for i in range(50)])
psycopg2.extras.execute_values(cur, "INSERT INTO psycopg2 VALUES %s", [(i, "v") for i in range(100, 150)])
cur.execute("SELECT count(*) FROM psycopg2")
assert cur.fetchone() == (100,)
conn.commit()

cur.execute("INSERT INTO psycopg2 VALUES (500, 'x')")
conn.rollback()
try:
    cur.execute("INSERT INTO psycopg2 VALUES (0, 'again')")
except psycopg2.errors.UniqueViolation:
    conn.rollback()
else:
    raise AssertionError("the key is taken")

named = conn.cursor("named")
named.itersize = 7
named.execute("SELECT a FROM psycopg2 WHERE a < 50 ORDER BY a")
assert [row[0] for row in named] == list(range(50))
named.close()
conn.commit()

cur.copy_expert("COPY psycopg2 FROM STDIN", io.StringIO("".join(f"{i}\tcopied\n" for i in range(1000, 2000))))
out = io.StringIO()
cur.copy_expert("COPY (SELECT * FROM psycopg2 WHERE a >= 1000) TO STDOUT", out)
assert len(out.getvalue().splitlines()) == 1000
conn.rollback()

for level in (1, 2, 3, 4):
    conn.set_session(isolation_level=level)
    cur.execute("SELECT count(*) FROM psycopg2")
    assert cur.fetchone() == (100,)
    conn.rollback()
conn.set_session(isolation_level="DEFAULT", readonly=True)
cur.execute("SELECT count(*) FROM psycopg2")
try:
    cur.execute("DELETE FROM psycopg2")
except psycopg2.errors.ReadOnlySqlTransaction:
    conn.rollback()
else:
    raise AssertionError("the session is read only")
conn.set_session(readonly=False, autocommit=True)

cur.execute("LISTEN psycopg2")
other = psycopg2.connect(conninfo)
other.autocommit = True
other.cursor().execute("NOTIFY psycopg2, 'hello'")
while not conn.notifies:
    assert select.select([conn], [], [], 60) != ([], [], []), "no notification came"
    conn.poll()
assert conn.notifies[0].payload == "hello"
other.close()
conn.close()
