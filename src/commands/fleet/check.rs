//! `fleet check`: whether the receipts in the database are whole, and whether its settings endanger them.

use serde::Serialize;

use crate::commands::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, Session, StreamState};
use crate::hex;
use crate::journal::is_head_signed;
use crate::measure::count;
use crate::printable::printable;

/// One chain of receipts.
#[derive(Serialize)]
struct ChainEvent<'a> {
    host: &'a str,
    /// The chain's identifier in the database.
    stream: String,
    /// The newest receipt; 0 where there is none.
    receipt: i64,
    receipt_hash: String,
    whole: bool,
    /// What is wrong; null where nothing is.
    defect: Option<String>,
}

impl Event for ChainEvent<'_> {
    const TYPE: &'static str = "fleet_chain";
}

/// Checks each chain that the login may read, and the database's settings.
pub(super) async fn run(session: &Session, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let (mut broken, mut receipts) = (0, 0);
    let streams = fleet::streams(session).await?;
    for stream in &streams {
        let first = fleet::first_defect(session, &stream.id).await?;
        let defect = defect(stream, first);
        broken += usize::from(defect.is_some());
        receipts += stream.seq - stream.base_seq;
        print(stream, defect, out)?;
    }
    let warnings = fleet::warnings(session).await?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let (chains, receipts) = (count(streams.len() as u64), count(receipts.cast_unsigned()));
    out.text(&format!("{chains} chains with {receipts} receipts, {broken} of the chains broken"))?;
    Ok(if broken > 0 { Exit::SomeFailed } else { Exit::Done })
}

/// What is wrong with a chain, in a sentence. `first` is its first receipt that is missing or altered. Pure.
fn defect(stream: &StreamState, first: Option<i64>) -> Option<String> {
    let head = (&stream.id, stream.seq, stream.hash.as_slice());
    let is_signed = |signature: &[u8]| is_head_signed(&stream.public_key, head, signature);
    match (first, &stream.signature) {
        (Some(seq), _) => Some(format!("receipt {seq} is missing or altered in the database")),
        (None, Some(signature)) if is_signed(signature) => None,
        (None, None) if stream.seq == stream.base_seq => None,
        (None, _) => Some(
            "its end is not signed by the machine's key: the newest receipts were put there by somebody else"
                .to_owned(),
        ),
    }
}

fn print(stream: &StreamState, defect: Option<String>, out: &mut Output<'_>) -> Result<(), Fatal> {
    let event = ChainEvent {
        host: &stream.host,
        stream: hex(&stream.id),
        receipt: stream.seq,
        receipt_hash: hex(&stream.hash),
        whole: defect.is_none(),
        defect,
    };
    out.print(&event, || {
        let (host, receipt) = (printable(&stream.host), count(stream.seq.cast_unsigned()));
        match &event.defect {
            None => format!("whole   {host}, up to receipt {receipt}"),
            Some(defect) => format!("BROKEN  {host}, up to receipt {receipt}: {defect}"),
        }
    })
}
