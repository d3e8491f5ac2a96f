"""pg8000: the extended protocol in text, written in Python."""
import io
import sys

# This file has the driver's name: without its own directory the driver is found.
sys.path.pop(0)
import pg8000.dbapi  # noqa: E402
import pg8000.native  # noqa: E402

address = {
    "host": "127.0.0.1",
    "port": int(sys.argv[1]),
    "user": "postgres",
    "password": "password",
    "database": sys.argv[2],
}

conn = pg8000.native.Connection(**address)
assert conn.run("SELECT :a + 1", a=41) == [[42]]
conn.run("CREATE TABLE pg8000 (a int PRIMARY KEY, b text)")
conn.run("START TRANSACTION")
for i in range(50):
    conn.run("INSERT INTO pg8000 VALUES (:a, :b)", a=i, b=f"row {i}")
assert conn.run("SELECT count(*) FROM pg8000") == [[50]]
conn.run("COMMIT")
statement = conn.prepare("SELECT :v::int * 2")
assert [statement.run(v=i) for i in range(10)] == [[[2 * i]] for i in range(10)]
statement.close()
conn.run("COPY pg8000 FROM STDIN", stream=io.BytesIO(b"".join(b"%d\tcopied\n" % i for i in range(1000, 1100))))
out = io.BytesIO()
conn.run("COPY (SELECT * FROM pg8000 WHERE a >= 1000) TO STDOUT", stream=out)
try:
    conn.run("SELECT 1/0")
except pg8000.exceptions.DatabaseError as error:
    assert error.args[0]["C"] == "22012"
conn.run("LISTEN pg8000")
other = pg8000.native.Connection(**address)
other.run("NOTIFY pg8000, 'hello'")
for _ in range(1000):
    conn.run("SELECT 1")
    if conn.notifications:
        break
assert conn.notifications[0][2] == "hello"
other.close()
conn.close()

conn = pg8000.dbapi.connect(**address)
cur = conn.cursor()
cur.executemany("INSERT INTO pg8000 VALUES (%s, %s)", [(i, "many") for i in range(200, 220)])
cur.execute("SELECT count(*) FROM pg8000 WHERE b = %s", ("many",))
assert tuple(cur.fetchone()) == (20,)
conn.rollback()
cur.execute("SELECT count(*) FROM pg8000 WHERE b = %s", ("many",))
assert tuple(cur.fetchone()) == (0,)
conn.close()
