//! Files that wait while nothing moves are noticed, whatever it is that keeps them.

use std::time::Duration;

use astran_backup::health::Knows;
use astran_backup::standstill::Standstill;
use tokio::time::sleep;

use crate::life::Life;
use crate::store::Reply;

/// Regression: uploads stood still, `/readyz` said ready, and no line told of it.
#[tokio::test(start_paused = true)]
async fn an_upload_without_an_answer_is_a_standstill_after_a_minute_and_until_its_file_is_done() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.store.then([Reply::After(Duration::from_secs(150))]);
    life.hand_over("x").await;
    life.under_way(1).await;
    // From here on nothing happens but that time passes, which it does in one go.
    let standstill = Standstill::default();
    standstill.add(life.flow.clone());
    tokio::spawn(standstill.clone().watch());
    sleep(Duration::from_secs(50)).await;
    assert_eq!(standstill.trouble(), None);
    sleep(Duration::from_secs(20)).await;
    assert!(standstill.trouble().unwrap().contains("though files wait"), "{:?}", standstill.trouble());
    life.outcome().await;
    while standstill.trouble().is_some() {
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(standstill.trouble(), None, "nothing waits");
}
