//! The admin socket without a proxy: who may come in, what is understood, what becomes of files.

use std::path::Path;
use std::sync::Arc;

use pgsteer_core::{Facts, Publisher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::doors::{DoorError, Doors};
use crate::sockets::Sockets;
use crate::testing::{facts, settings, snapshot};

/// The socket of a proxy with two nodes that nobody has asked yet.
struct Served {
    facts: Arc<Facts>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn serve(path: &Path) -> Served {
    let settings = settings();
    let topology = crate::topology::Nodes::new(&settings.nodes, std::time::SystemTime::UNIX_EPOCH);
    let topology = topology.topology(0, &crate::topology::View::default());
    let publisher = Arc::new(Publisher::new(snapshot(&settings, topology)));
    let (facts, closing) = (facts(), watch::Sender::new(false));
    let house = House {
        facts: Arc::clone(&facts),
        publisher,
        closing: closing.subscribe(),
    };
    let socket = AdminSocket::open(path).expect("opens");
    Served {
        facts,
        closing,
        task: tokio::spawn(run(socket, house)),
    }
}

async fn say(path: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).await.expect("connects");
    // One who is refused before is not listened to.
    let _ = stream.write_all(line).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    answer
}

#[test]
fn only_the_own_user_and_root_come_in() {
    assert!(may_enter(1000, 1000));
    assert!(may_enter(0, 1000));
    assert!(!may_enter(1001, 1000));
    assert!(!may_enter(1000, 0));
}

#[tokio::test]
async fn nodes_are_listed_although_none_answers_and_orders_are_handed_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let served = serve(&path);
    let answer: Reply =
        serde_json::from_str(&say(&path, b"{\"command\":\"list\"}\n").await).unwrap();
    let Reply::Listed(listed) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((listed.primary, listed.nodes.len()), (None, 2));
    assert_eq!(listed.nodes[1].health, "unknown");

    let mut orders = served.facts.node_desk.take().unwrap();
    let taker = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Some(order) = orders.recv().await {
            let answer = match order.order {
                NodeOrder::Switchover(_) => Err("no demote_command".to_owned()),
                _ => Ok(vec!["done as told".to_owned()]),
            };
            taken.push((order.order, order.user));
            let _ = order.reply.send(answer);
            if taken.len() == 2 {
                break;
            }
        }
        taken
    });
    let answer = say(&path, b"{\"command\":\"detach\",\"node\":1}\n").await;
    assert_eq!(
        answer,
        "{\"outcome\":\"done\",\"answer\":[\"done as told\"]}\n"
    );
    let answer = say(&path, b"{\"command\":\"switchover\",\"node\":0}\n").await;
    let refused = "{\"outcome\":\"refused\",\"answer\":\"no demote_command\"}\n";
    assert_eq!(answer, refused);
    let user = format!("uid {}", rustix::process::geteuid().as_raw());
    let expected = [
        (NodeOrder::Detach(NodeId(1)), user.clone()),
        (NodeOrder::Switchover(NodeId(0)), user),
    ];
    assert_eq!(taker.await.unwrap(), expected);
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _served = serve(&path);
    let long = vec![b'x'; 10_000];
    for line in [
        b"\n".as_slice(),
        b"{}\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"detach\"}\n",
        b"{\"command\":\"detach\",\"node\":-1}\n",
        b"{\"command\":\"detach\",\"node\":7}\n",
        b"{\"command\":\"detach\",\"node\":0,\"more\":1}\n",
        b"\xff\xff\n",
        &long,
    ] {
        let answer = say(&path, line).await;
        assert!(answer.starts_with("{\"outcome\":\"refused\""), "{answer}");
    }
    assert!(
        say(&path, b"{\"command\":\"list\"}\n")
            .await
            .contains("listed")
    );
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_gone_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let served = serve(&path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    served.closing.send_replace(true);
    served.task.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let _served = serve(&path);
    assert!(
        say(&path, b"{\"command\":\"list\"}\n")
            .await
            .contains("listed")
    );
    let mut settings = settings();
    settings.admin.socket = Some(path.clone());
    let error = Doors::open(&settings, &mut Sockets::default()).unwrap_err();
    assert!(matches!(error, DoorError::Live(_)), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    settings.admin.socket = Some(file.clone());
    let error = Doors::open(&settings, &mut Sockets::default()).unwrap_err();
    assert!(matches!(error, DoorError::NoSocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}
