//! Large and small files are limited separately, by the size that a file has when it is opened.

use std::fs::File;

use astran_backup::upload::{Outcome, Unsettled};

use crate::life::Life;

#[tokio::test]
async fn a_file_that_grew_large_since_it_settled_waits_among_the_large_ones() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1");
    life.hand_over_of_size("x", 1).await;
    assert!(matches!(life.outcome().await, Outcome::Stored { .. }));
    let large = 65 << 20;
    File::create(life.root.path().join("y")).unwrap().set_len(large).unwrap();
    life.hand_over_of_size("y", 1).await;
    let outcome = life.outcome().await;
    assert!(matches!(outcome, Outcome::Again { reason: Unsettled::Grown, .. }), "{outcome:?}");
    assert_eq!(life.vault.uploads(), 1);
    life.hand_over_of_size("y", large).await;
    assert!(matches!(life.outcome().await, Outcome::Stored { .. }));
}
