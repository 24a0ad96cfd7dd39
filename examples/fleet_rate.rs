//! How many receipts a second one machine ships to a fleet's database: near, and where a round trip takes 20 ms.
//!
//! `.ci/postgres rate` starts a server, makes a database with one member, and runs this. Without arguments the program says which ones it takes:
//! the state folder is that of the journal with which the login joined.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use astran_backup::config::{Database, Fleet, ReceiptsMode};
use astran_backup::file::FileStamp;
use astran_backup::fleet::{Batch, Session};
use astran_backup::journal::{Begun, Intent, Journal, Stored};
use astran_backup::secret::Source;
use astran_backup::vault::{DocumentId, RemotePath};

#[path = "../tests/support/proxy.rs"]
mod proxy;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, ca, login, password, state, more @ ..] = arguments.as_slice() else {
        eprintln!("usage: fleet_rate HOST:PORT/DATABASE CA_FILE LOGIN PASSWORD_FILE STATE_DIR [RECEIPTS]");
        std::process::exit(2);
    };
    let receipts: usize = more.first().map_or(20_000, |number| number.parse().unwrap());
    let (address, database) = server.split_once('/').unwrap();
    let proxy = proxy::Proxy::to(address);
    let fleet = |port: u16| Fleet {
        database: Database { host: "localhost".into(), port, name: database.into(), user: Some(login.clone()) },
        password: Source::File(password.into()),
        ca_file: Some(PathBuf::from(ca)),
        name: Ok("rate".into()),
        receipts: ReceiptsMode::Async,
        heartbeat: Duration::from_secs(60),
    };
    let journal = Journal::open(Path::new(state)).unwrap();
    let near = address.rsplit(':').next().unwrap().parse().unwrap();
    for (name, port, one_way) in [("near", near, 0), ("20 ms away", proxy.port(), 10)] {
        proxy.delay(Duration::from_millis(one_way));
        write_receipts(&journal, receipts).await;
        let session = Session::of_host(&fleet(port)).await.unwrap();
        let took = ship_all(&session, &journal).await;
        println!("{name}: {receipts} receipts in {took:.2?}, {:.0}/s", receipts as f64 / took.as_secs_f64());
    }
}

/// As the shipper does: one batch after the other, and the next one is read while one is on its way.
async fn ship_all(session: &Session, journal: &Journal) -> Duration {
    let start = Instant::now();
    let head = session.head().await.unwrap().unwrap();
    let mut after = head.seq;
    let mut links = journal.links(after, 1000).await.unwrap();
    while let Some(batch) = Batch::following(after, links).unwrap() {
        after = batch.newest();
        let ship = async {
            let signature = journal.sign_head(head.stream, after, batch.newest_hash().to_vec()).await.unwrap();
            session.ship(&batch, &signature).await.unwrap()
        };
        let (newest, following) = tokio::join!(ship, journal.links(after, 1000));
        assert_eq!(newest, after);
        links = following.unwrap();
    }
    start.elapsed()
}

/// Receipts as those of scanned files, many in flight so that the journal commits them in groups.
async fn write_receipts(journal: &Journal, count: usize) {
    let round = journal.ends().await.unwrap().head.seq;
    let mut writing = tokio::task::JoinSet::new();
    for number in 0..count {
        let journal = journal.clone();
        writing.spawn(async move {
            let name = format!("scan-{round}-{number:07}.pdf");
            let intent = Intent {
                root: "/srv/scans/reception".into(),
                relative: name.clone().into(),
                stamp: FileStamp { device: 1, inode: number as u64, size: 48_213, mtime: 4, ctime: 5 },
                dest: RemotePath::parse("/HR_Backup/scan-01").unwrap(),
                folder: DocumentId("5f0c6a1e-0d5e-4a52-9c3b-2f6f3f1f7d11".into()),
                name,
            };
            let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("the name is free") };
            let stored = Stored {
                sha256: format!("{number:064x}"),
                size: 48_213,
                document: DocumentId(format!("{number:08x}-0d5e-4a52-9c3b-2f6f3f1f7d11")),
                document_version: Some("1".into()),
                user: "scanner@example.com".into(),
                already_present: false,
            };
            journal.stored(id, stored).await.unwrap();
        });
        if writing.len() >= 256 {
            writing.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(ended) = writing.join_next().await {
        ended.unwrap();
    }
}
