//! The page about larger machines: arithmetic on what was measured on this one.

use std::fmt::Write as _;

use crate::results::Results;

/// What was measured, in microseconds and bytes.
struct Constants {
    simple: f64,
    prepared: f64,
    transaction: f64,
    login: f64,
    idle: f64,
    server: f64,
    process: f64,
    worker: f64,
    epoll_waits: f64,
    /// Of client and server together, without a proxy.
    direct: f64,
}

impl Constants {
    /// `None` while one of them is missing.
    fn of(results: &Results) -> Option<Self> {
        let cpu = |scenario: &str| Some(results.of(scenario, "pgsteer")?.cpu_us);
        let bytes = |name: &str| Some(results.memory.costs.get(name)?.bytes);
        let calls = results.syscalls.get("simple, 32 clients")?;
        Some(Self {
            simple: cpu("select-simple-32")?,
            prepared: cpu("select-prepared-32")?,
            transaction: cpu("transaction-simple-32")?,
            login: cpu("connect")?,
            idle: bytes("idle client")?,
            server: bytes("client with a server connection")?,
            process: bytes("process with one worker")?,
            worker: bytes("further worker")?,
            direct: {
                let tps = results.of("select-simple-32", "direct")?.tps;
                results.site.cores as f64 * 1e6 / tps
            },
            epoll_waits: calls.calls.get("epoll_wait").copied().unwrap_or(0.0),
        })
    }

    /// Statements per second of so many cores, in thousands.
    fn carried(&self, cores: f64, us: f64) -> String {
        let thousands = cores * 1000.0 / us;
        if thousands < 1000.0 {
            format!("{thousands:.0},000")
        } else {
            format!(
                "{:.0},{:03.0},000",
                (thousands / 1000.0).floor(),
                thousands % 1000.0
            )
        }
    }
}

/// The whole page.
pub(crate) fn page(results: &Results) -> String {
    let Some(constants) = Constants::of(results) else {
        return "# Scaling on paper\n\nNot everything that this page is calculated from has been measured: run \
                `make bench`.\n"
            .to_owned();
    };
    let mut text = INTRODUCTION.to_owned();
    text += &measured(&constants);
    text += &machines(&constants);
    text += &million(&constants);
    text += &crowd(&constants);
    text + LIMITS
}

fn measured(constants: &Constants) -> String {
    let mut text = "## What it is calculated from\n\n| constant | value |\n|---|---:|\n".to_owned();
    let kib = |bytes: f64| match bytes / 1024.0 {
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib => format!("{:.1} MiB", kib / 1024.0),
    };
    let us = |us: f64| format!("{us:.1} µs");
    for (what, value) in [
        (
            "CPU of a point select, simple protocol, session pooling",
            us(constants.simple),
        ),
        ("the same, prepared", us(constants.prepared)),
        (
            "the same, simple, transaction pooling",
            us(constants.transaction),
        ),
        (
            "CPU of a login with SCRAM-SHA-256 and one statement",
            us(constants.login),
        ),
        ("memory of an idle client", kib(constants.idle)),
        (
            "memory of a client with a server connection",
            kib(constants.server),
        ),
        (
            "memory of a process with one worker",
            kib(constants.process),
        ),
        ("memory of a further worker", kib(constants.worker)),
        ("reads and writes of a simple query", "2 and 2".to_owned()),
        (
            "`epoll_wait` of a simple query, 32 clients",
            format!("{:.2}", constants.epoll_waits),
        ),
    ] {
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text.push('\n');
    text
}

fn machines(constants: &Constants) -> String {
    let mut text = "## 2, 16 and 64 cores\n\n\
        Point selects per second that the proxy alone can pass on, if every core does nothing else:\n\n\
        | cores | simple | prepared | simple, transaction pooling |\n|---:|---:|---:|---:|\n"
        .to_owned();
    for cores in [1.0, 2.0, 16.0, 64.0] {
        let of = |us| constants.carried(cores, us);
        let _ = writeln!(
            text,
            "| {cores} | {} | {} | {} |",
            of(constants.simple),
            of(constants.prepared),
            of(constants.transaction)
        );
    }
    text + "\nThis is a straight line, and it is one for a reason: a session stays on its worker, and on the way \
        of a statement workers share nothing that one of them changes, in session pooling and in transaction \
        pooling. What bends it is outside of the proxy: the memory bus, interrupts of the network that land on \
        a core which is busy, and hyper-threads, of which two are less than two cores.\n\n"
}

fn million(constants: &Constants) -> String {
    let cores = |us: f64| (us + 0.999).floor();
    // Query and answer of a point select, with the headers of TCP, IP and Ethernet.
    let bytes = (60.0 + 90.0) + 2.0 * 66.0;
    let gigabits = bytes * 8.0 * 1e6 / 1e9;
    format!(
        "## 1,000,000 statements per second\n\n\
         - **Cores**: {:.0} for simple, {:.0} for prepared statements, {:.0} with transaction pooling. A \
         machine with 64 cores has room for this, one with 16 only if a statement takes less than 16 µs there.\n\
         - **System calls**: {:.1} million per second. They are most of the cost, and there are no \
         fewer than one read and one write on each side unless several statements travel together: a pipeline of ten \
         saves nine tenths of them.\n\
         - **Network**: a point select and its answer are about 60 and 90 bytes, in one packet each, on both \
         sides of the proxy: four million packets and {gigabits:.1} Gbit/s in each direction. Network cards with \
         several queues, one for each core, take that; a single queue does not.\n\
         - **Servers**: pgbench and PostgreSQL together took {:.0} µs of CPU for a point select here. A million in a \
         second are the work of several replicas with dozens of cores each. The built-in router spreads them; it \
         draws once for a session, so that costs nothing for a statement.\n\n",
        cores(constants.simple),
        cores(constants.prepared),
        cores(constants.transaction),
        4.0 + constants.epoll_waits,
        constants.direct,
    )
}

fn crowd(constants: &Constants) -> String {
    let clients = 100_000.0;
    let gib = |bytes: f64| bytes / 1024.0 / 1024.0 / 1024.0;
    let idle = gib(constants.idle * clients);
    let workers = gib(constants.process + 15.0 * constants.worker);
    let storm = constants.login * clients / 1e6;
    format!(
        "## 100,000 clients\n\n\
         - **Memory**: {idle:.2} GiB for the clients and {workers:.2} GiB for a process with 16 workers. Besides, the \
         kernel keeps a socket for each client; how much that takes was not measured.\n\
         - **Files**: one for each client and each server connection. `listen.clients_max` is 10,000 unless you say \
         otherwise, and the limit of open files of the service (`LimitNOFILE`) must be above both together. pgsteer \
         raises its own limit as far as the system lets it.\n\
         - **Time while they do nothing**: none for a client; nothing is done at intervals for each of \
         them.\n\
         - **A storm of logins**: when all of them connect again at once, after a failure of the network for \
         instance, that is {storm:.0} seconds of CPU: {:.0} seconds on 16 cores, during which statements of those who \
         are in wait with them. This is what is felt first with so many clients. `listen.login_timeout` (1 minute) \
         must be longer than that.\n\
         - **Server connections**: in transaction pooling, as many as statements run at one time, not as \
         many as clients.\n\n",
        storm / 16.0
    )
}

const INTRODUCTION: &str = "# Scaling on paper\n\n\
What larger machines can be expected to do, calculated from the figures in [performance.md](performance.md), which \
were measured on a small one. `make bench` writes this page anew with them. **Nothing on this page was measured on a \
machine of that size**: take it as the place where to look first, not as a promise.\n\n";

const LIMITS: &str = "## Where the first limits are\n\n\
In the order in which a growing site meets them:\n\n\
| limit | when | what you can do | what would be changed in pgsteer |\n|---|---|---|---|\n\
| Server connections belong to a worker, and workers do not lend them to each other. | Transaction pooling with many \
workers and few connections: 64 workers and `pool.connections_per_node_max = 90` are one or two connections for each; sessions of one \
wait while another has some to spare. | Fewer workers (`listen.workers`): 16 are enough for the figures above; or \
more connections. | An idle connection is handed to a worker that has waiters, as a whole, through its mailbox: \
one wake-up for a hand-over, none for a statement. |\n\
| Logins are served by the same workers as statements. | Storms of logins, see above. | A longer `listen.login_timeout`; \
clients that wait longer after each failure. | Logins get a share of the time of a worker, so that statements go on \
between them. |\n\
| The kernel's TCP takes most of the time. | From the first statement on. | Pipelines; clients on the same host through a \
Unix socket. | Nothing that is worth it is known: a relay that looks at nothing costs about as much, with io_uring \
as without. |\n\
| Each worker has its own memory of analyses, names and answers. | Many workers and more distinct statements than fit: \
each is analysed once by every worker. | Nothing; the memory is bounded. | A second level that workers share, read \
without locks. |\n\
| A reload, a change of the topology and a new plugin empty the memory of answers of every worker. | Changes many times a \
second; the plot is in performance.md. | – | Only answers that depend on what has changed are forgotten. |\n\
| Moments of writes are kept in cells that all workers share, for `read_your_writes`. | Hundreds of thousands of writes per \
second to the same table, on several workers. | – | Cells for each worker, which readers compare. |\n\
| One list of sessions, under one lock, at login and logout and while the console shows it. | Tens of thousands of logins \
per second; `SHOW CLIENTS` with 100,000 clients. | – | A list for each worker. |\n\
| One thread accepts connections for each listening address. | Above the rate of logins that workers can serve. | More \
addresses in `listen.address`. | – |\n";
