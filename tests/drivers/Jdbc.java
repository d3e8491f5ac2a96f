// JDBC: server-side prepared statements, batches, fetch sizes, savepoints, COPY, cancel, isolation levels.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static String one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            check(r.next(), "a row of " + sql);
            return r.getString(1);
        }
    }

    static Connection connect(String url, String... settings) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", "postgres");
        p.setProperty("password", "password");
        for (int i = 0; i < settings.length; i += 2) p.setProperty(settings[i], settings[i + 1]);
        return DriverManager.getConnection(url, p);
    }

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/" + args[1];
        for (String mode : new String[] {"extended", "extendedForPrepared", "simple", "extendedCacheEverything"}) {
            try (Connection c = connect(url, "preferQueryMode", mode)) {
                work(c, mode);
            }
        }
        binary(url);
    }

    static void work(Connection c, String mode) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("DROP TABLE IF EXISTS jdbc");
            s.execute("CREATE TABLE jdbc (id serial PRIMARY KEY, a int UNIQUE, b text)");
        }
        batches(c);
        // From its fifth execution a statement is prepared at the server under a name.
        try (PreparedStatement p = c.prepareStatement("SELECT b FROM jdbc WHERE a = ?")) {
            for (int i = 0; i < 20; i++) {
                p.setInt(1, i);
                try (ResultSet r = p.executeQuery()) {
                    check(r.next() && r.getString(1).equals("row " + i), mode + ": row " + i);
                }
            }
        }
        transactions(c, mode);
        try (Statement s = c.createStatement()) {
            s.execute("SET work_mem = '7MB'");
        }
        check(one(c, "SHOW work_mem").equals("7MB"), mode + ": what was set is in force");
        changes(c, mode);
        if (!mode.equals("simple")) cancelled(c, mode);
        CopyManager copies = ((PGConnection) c).getCopyAPI();
        check(copies.copyIn("COPY jdbc (a, b) FROM STDIN", new StringReader("900\tx\n901\ty\n")) == 2, "COPY in");
        StringWriter out = new StringWriter();
        check(copies.copyOut("COPY (SELECT a FROM jdbc WHERE a >= 900 ORDER BY a) TO STDOUT", out) == 2, "COPY out");
        check(out.toString().equals("900\n901\n"), "COPY out: " + out);
        try (ResultSet r = c.getMetaData().getColumns(null, "public", "jdbc", null)) {
            int columns = 0;
            while (r.next()) columns++;
            check(columns == 3, "metadata");
        }
    }

    static void batches(Connection c) throws SQLException {
        String sql = "INSERT INTO jdbc (a, b) VALUES (?, ?)";
        try (PreparedStatement p = c.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 300; i++) {
                p.setInt(1, i);
                p.setString(2, "row " + i);
                p.addBatch();
            }
            check(p.executeBatch().length == 300, "a batch");
            int keys = 0;
            for (ResultSet r = p.getGeneratedKeys(); r.next(); ) keys++;
            check(keys == 300, "generated keys");
        }
    }

    static void transactions(Connection c, String mode) throws SQLException {
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("UPDATE jdbc SET b = 'changed' WHERE a = 1");
            Savepoint point = c.setSavepoint("point");
            try {
                s.executeQuery("SELECT 1/0");
                check(false, "an error");
            } catch (SQLException e) {
                check(e.getSQLState().equals("22012"), e.toString());
            }
            c.rollback(point);
            check(one(c, "SELECT b FROM jdbc WHERE a = 1").equals("changed"), mode + ": own write");
            c.rollback();
            check(one(c, "SELECT b FROM jdbc WHERE a = 1").equals("row 1"), mode + ": rolled back");
            // A portal that is read in pieces.
            s.setFetchSize(7);
            int count = 0;
            for (ResultSet r = s.executeQuery("SELECT a FROM jdbc ORDER BY a"); r.next(); ) count++;
            check(count == 300, mode + ": " + count + " rows");
            c.commit();
        }
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        check(one(c, "SHOW transaction_isolation").equals("serializable"), mode + ": serializable");
        c.commit();
        c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        c.setReadOnly(true);
        check(one(c, "SELECT count(*) FROM jdbc").equals("300"), mode + ": read-only");
        c.commit();
        c.setReadOnly(false);
        c.setAutoCommit(true);
    }

    /** The result of a prepared statement changes its type: JDBC tries again with a new one. */
    static void changes(Connection c, String mode) throws SQLException {
        try (PreparedStatement p = c.prepareStatement("SELECT * FROM jdbc WHERE a = 3");
                Statement s = c.createStatement()) {
            for (int i = 0; i < 10; i++) p.executeQuery().close();
            s.execute("ALTER TABLE jdbc ADD COLUMN extra int");
            try (ResultSet r = p.executeQuery()) {
                check(r.next() && r.getMetaData().getColumnCount() == 4, mode + ": four columns");
            }
            s.execute("ALTER TABLE jdbc DROP COLUMN extra");
            try (ResultSet r = p.executeQuery()) {
                check(r.next() && r.getMetaData().getColumnCount() == 3, mode + ": three columns");
            }
        }
    }

    static void cancelled(Connection c, String mode) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            s.executeQuery("SELECT pg_sleep(60)");
            check(false, "it should have been cancelled");
        } catch (SQLException e) {
            check(e.getSQLState().equals("57014"), mode + ": " + e);
        }
        check(one(c, "SELECT 1").equals("1"), mode + ": the session goes on");
    }

    static void binary(String url) throws SQLException {
        try (Connection c = connect(url, "prepareThreshold", "-1", "binaryTransfer", "true", "reWriteBatchedInserts", "true",
                "options", "-c search_path=public -c work_mem=8MB")) {
            check(one(c, "SHOW work_mem").equals("8MB"), "startup options");
            try (PreparedStatement p = c.prepareStatement("SELECT ?::int, ?::float8, ?::timestamptz, ?::bytea")) {
                for (int i = 0; i < 10; i++) {
                    p.setInt(1, i);
                    p.setDouble(2, i / 2.0);
                    p.setTimestamp(3, new Timestamp(0));
                    p.setBytes(4, new byte[] {1, 2, 3});
                    try (ResultSet r = p.executeQuery()) {
                        check(r.next() && r.getInt(1) == i && r.getBytes(4).length == 3, "binary");
                        check(r.getTimestamp(3).getTime() == 0, "time");
                    }
                }
            }
        }
    }
}
