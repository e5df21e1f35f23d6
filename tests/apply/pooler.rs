//! A pooler in transaction mode, as small as one can be: every client gets a session of the server
//! for one transaction.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use schema::pg::Target;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::support::Db;

/// Which of its idle sessions it lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that was given back last.
    LastFirst,
    /// The one that was given back first.
    InTurn,
}

struct Pool {
    order: Order,
    idle: Mutex<VecDeque<UnixStream>>,
    free: Semaphore,
}

/// Starts one with so many sessions; where to connect to it. It ends with the test.
pub async fn start(db: &Db, order: Order, sessions: usize) -> Target {
    let mut idle = VecDeque::new();
    for _ in 0..sessions {
        idle.push_back(session(db.scratch.socket_dir()).await);
    }
    let pool = Arc::new(Pool { order, idle: Mutex::new(idle), free: Semaphore::new(sessions) });
    let folder = tempfile::tempdir().expect("a folder").keep();
    let listener = UnixListener::bind(socket(&folder, 6432)).expect("listens");
    let address = format!("host={} port=6432 user=postgres dbname=postgres", folder.display());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { serve(client, &pool).await });
        }
    });
    Target::parse(&address).expect("parses")
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// A session of the server that has said that it is ready.
async fn session(folder: &Path) -> UnixStream {
    let mut server = UnixStream::connect(socket(folder, 5432)).await.expect("connects");
    let mut startup = vec![0, 3, 0, 0];
    startup.extend(b"user\0postgres\0database\0postgres\0\0");
    server.write_all(&[&length(&startup), startup.as_slice()].concat()).await.expect("is written");
    while message(&mut server).await.expect("answers").0 != b'Z' {}
    server
}

fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).expect("is short").to_be_bytes()
}

/// The kind of the next message, and all of it.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).await.ok()?;
    let rest = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()?.checked_sub(4)?;
    let mut whole = vec![0; 5 + rest];
    whole[..5].copy_from_slice(&head);
    from.read_exact(&mut whole[5..]).await.ok()?;
    Some((head[0], whole))
}

/// One client, to its end.
async fn serve(mut client: UnixStream, pool: &Pool) -> Option<()> {
    // What it says of itself is not looked at: everybody is the superuser here.
    let mut size = [0; 4];
    client.read_exact(&mut size).await.ok()?;
    let mut startup = vec![0; usize::try_from(u32::from_be_bytes(size)).ok()?.checked_sub(4)?];
    client.read_exact(&mut startup).await.ok()?;
    // Authenticated; a key that cancels nothing; ready.
    client.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x01Z\0\0\0\x05I").await.ok()?;
    loop {
        let mut next = message(&mut client).await?;
        if next.0 == b'X' {
            return Some(());
        }
        let _lent = pool.free.acquire().await.ok()?;
        let mut server = {
            let mut idle = pool.idle.lock().expect("nobody panics with it");
            match pool.order {
                Order::LastFirst => idle.pop_back(),
                Order::InTurn => idle.pop_front(),
            }?
        };
        // Until the server is ready outside a transaction.
        let ended = loop {
            let asks = matches!(next.0, b'Q' | b'S');
            server.write_all(&next.1).await.ok()?;
            let mut ready = None;
            while asks && ready.is_none() {
                let (kind, whole) = message(&mut server).await?;
                ready = (kind == b'Z').then(|| whole[5]);
                client.write_all(&whole).await.ok()?;
            }
            if ready == Some(b'I') {
                break false;
            }
            match message(&mut client).await {
                Some(more) if more.0 != b'X' => next = more,
                _ => break true,
            }
        };
        if ended {
            // In the middle of a transaction: taken back before the next client gets it.
            server.write_all(b"Q\0\0\0\x0dROLLBACK\0").await.ok()?;
            while message(&mut server).await?.0 != b'Z' {}
        }
        pool.idle.lock().expect("nobody panics with it").push_back(server);
        if ended {
            return Some(());
        }
    }
}
