use super::*;
use proptest::prelude::*;
use reqwest::header::HeaderValue;
use std::time::SystemTime;

/// A clock that the test moves; both clocks go together.
#[derive(Clone, Copy)]
struct Clock(Now);

impl Clock {
    fn new() -> Self {
        Self(Now { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH })
    }

    fn advance(&mut self, by: Duration) {
        self.0.instant += by;
        self.0.wall += by;
    }

    fn secs(&mut self, secs: u64) {
        self.advance(Duration::from_secs(secs));
    }
}

fn tokens(life: u64, refresh: Option<&str>, refresh_life: u64) -> Granted {
    Granted {
        access: HeaderValue::from_static("Bearer x"),
        life: (life > 0).then(|| Duration::from_secs(life)),
        refresh: refresh.map(|r| SecretString::from(r.to_owned())),
        refresh_life: (refresh_life > 0).then(|| Duration::from_secs(refresh_life)),
    }
}

fn logged_in(life: u64) -> (State, Clock) {
    let (mut state, clock) = (State::new(Duration::from_secs(5)), Clock::new());
    state.granted(GrantType::Login, tokens(life, Some("r1"), 1800), clock.0, &clock.0, false);
    (state, clock)
}

fn refused() -> Failure {
    Failure::Refused("wrong".into())
}

fn transient(retry_after: Option<u64>) -> Failure {
    Failure::Transient { message: "down".into(), retry_after: retry_after.map(Duration::from_secs) }
}

#[test]
fn a_token_is_used_then_refreshed_ahead_then_replaced_by_a_login() {
    let (state, mut clock) = logged_in(300);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Use(_)));
    clock.secs(151);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Use(_)));
    assert!(matches!(state.step(Need::Long, &clock.0), Step::Refresh), "less than half is left");
    clock.secs(119);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Refresh));
    clock.secs(1530);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Login), "the session idled out: no vain refresh");
}

#[test]
fn refresh_expires_in_zero_is_not_expired() {
    let (mut state, mut clock) = (State::new(Duration::ZERO), Clock::new());
    state.granted(GrantType::Login, tokens(5, Some("offline"), 0), clock.0, &clock.0, false);
    clock.secs(86_400);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Refresh));
}

#[test]
fn an_absent_refresh_token_keeps_the_old_and_a_new_one_replaces_it() {
    use secrecy::ExposeSecret;
    let (mut state, clock) = logged_in(300);
    state.granted(GrantType::Refresh, tokens(300, None, 0), clock.0, &clock.0, false);
    assert_eq!(state.refresh_token().unwrap().expose_secret(), "r1");
    state.granted(GrantType::Refresh, tokens(300, Some("r2"), 0), clock.0, &clock.0, false);
    assert_eq!(state.refresh_token().unwrap().expose_secret(), "r2");
    state.granted(GrantType::Login, tokens(300, None, 0), clock.0, &clock.0, false);
    assert!(state.refresh_token().is_none());
}

#[test]
fn shrinking_lives_ask_for_a_login() {
    let (mut state, mut clock) = logged_in(300);
    clock.secs(280);
    state.granted(GrantType::Refresh, tokens(149, Some("r2"), 1800), clock.0, &clock.0, false);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Login));
    state.failed(GrantType::Login, transient(None), None, &clock.0);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Use(_)), "gone on with meanwhile");
}

#[test]
fn any_refusal_of_a_refresh_is_a_login_at_once() {
    let (mut state, mut clock) = logged_in(300);
    clock.secs(280);
    state.failed(GrantType::Refresh, refused(), None, &clock.0);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Login));
}

#[test]
fn a_refresh_that_fails_is_tried_again_later_while_the_token_lives() {
    let (mut state, mut clock) = logged_in(300);
    clock.secs(275);
    state.failed(GrantType::Refresh, transient(None), None, &clock.0);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Use(_)));
    clock.secs(5);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Refresh));
    state.failed(GrantType::Refresh, transient(Some(60)), None, &clock.0);
    clock.secs(30);
    let Step::Refuse(error) = state.step(Need::Short, &clock.0) else { panic!("the token is dead") };
    assert_eq!((error.kind, error.retry_after), (Kind::Unavailable, Some(Duration::from_secs(30))));
}

#[test]
fn a_refused_token_is_replaced_only_while_it_is_the_current_one() {
    let (mut state, clock) = logged_in(300);
    assert!(matches!(state.step(Need::Instead(0), &clock.0), Step::Use(_)), "another call has replaced it already");
    assert!(matches!(state.step(Need::Instead(1), &clock.0), Step::Refresh));
    state.granted(GrantType::Refresh, tokens(300, Some("r2"), 0), clock.0, &clock.0, true);
    let Step::Use(token) = state.step(Need::Instead(1), &clock.0) else { panic!() };
    let Step::Refuse(error) = state.step(Need::Instead(2), &clock.0) else { panic!("brand-new and refused") };
    assert!(error.kind == Kind::Login && error.message.contains("brand-new"));
    token.accept();
    assert!(matches!(state.step(Need::Instead(2), &clock.0), Step::Refresh), "it had worked: revoked, not wrong");
}

#[test]
fn distrust_ends_by_itself() {
    let (mut state, mut clock) = logged_in(300);
    state.granted(GrantType::Refresh, tokens(300, Some("r2"), 0), clock.0, &clock.0, true);
    clock.secs(30);
    assert!(matches!(state.step(Need::Instead(2), &clock.0), Step::Refresh));
}

#[test]
fn a_refused_login_suspends_until_its_time_is_over_and_then_rarely() {
    let (mut state, mut clock) = logged_in(10);
    clock.secs(2000);
    for minutes in [16u64, 32, 64, 128, 256, 360, 360] {
        assert!(matches!(state.step(Need::Short, &clock.0), Step::Login));
        state.failed(GrantType::Login, refused(), Some([1; 32]), &clock.0);
        let Step::Refuse(error) = state.step(Need::Short, &clock.0) else { panic!() };
        assert!(error.kind == Kind::Login && error.message.contains("worked before"), "{error}");
        clock.secs(6);
        assert!(matches!(state.step(Need::Short, &clock.0), Step::Look));
        state.looking(&clock.0);
        state.looked(Some([1; 32]));
        state.looked(None);
        let Step::Refuse(again) = state.step(Need::Short, &clock.0) else { panic!("the same secret is not tried") };
        assert_eq!(again.message, error.message, "who tells it once must see that it is the same");
        clock.secs(minutes * 60 - 6);
    }
}

#[test]
fn a_changed_secret_or_a_reload_is_tried_at_once() {
    for reload in [false, true] {
        let (mut state, mut clock) = (State::new(Duration::from_secs(5)), Clock::new());
        state.failed(GrantType::Login, refused(), Some([1; 32]), &clock.0);
        let Step::Refuse(error) = state.step(Need::Short, &clock.0) else { panic!() };
        assert!(!error.message.contains("worked before"));
        clock.secs(5);
        if reload {
            state.reload();
        } else {
            state.looked(Some([2; 32]));
        }
        assert!(matches!(state.step(Need::Short, &clock.0), Step::Login));
    }
}

#[test]
fn a_refused_login_lets_a_living_token_be() {
    let (mut state, mut clock) = logged_in(300);
    clock.secs(280);
    state.failed(GrantType::Login, refused(), None, &clock.0);
    assert!(matches!(state.step(Need::Short, &clock.0), Step::Use(_)));
    assert!(matches!(state.step(Need::Instead(1), &clock.0), Step::Refuse(_)));
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Ask(u8),
    Grant(u64, bool),
    Transient(Option<u64>),
    Refused(u8),
    Looked(u8),
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u64..400_000).prop_map(Event::Pass),
        (0u64..3_000).prop_map(Event::Pass),
        (0u8..3).prop_map(Event::Ask),
        (0u64..400, any::<bool>()).prop_map(|(l, r)| Event::Grant(l, r)),
        prop::option::of(0u64..600).prop_map(Event::Transient),
        (0u8..3).prop_map(Event::Refused),
        (0u8..3).prop_map(Event::Looked),
        Just(Event::Reload),
    ]
}

proptest! {
    /// In whatever order answers come: logins keep their distance, a refused secret is not tried again before its time, and a
    /// token is never given out dead or in place of itself.
    #[test]
    fn the_rules_hold_in_any_order(events in prop::collection::vec(event(), 1..80)) {
        let (mut state, mut clock) = (State::new(Duration::from_secs(5)), Clock::new());
        let (mut last_login, mut refused_at): (Option<Instant>, Option<(u8, Instant)>) = (None, None);
        let mut need = Need::Short;
        for event in events {
            let step = state.step(need, &clock.0);
            if let Step::Use(token) = &step {
                prop_assert!(token.life.lives(&clock.0) && need != Need::Instead(token.serial));
            }
            if let Step::Wait(until) = &step {
                prop_assert!(*until > clock.0.instant);
            }
            let how = match &step { Step::Login => Some(GrantType::Login), Step::Refresh => Some(GrantType::Refresh), _ => None };
            if how == Some(GrantType::Login) {
                prop_assert!(last_login.is_none_or(|l| clock.0.instant >= l + BETWEEN_LOGINS));
                prop_assert!(refused_at.is_none_or(|(_, at)| clock.0.instant >= at + FIRST_SUSPENSION));
            }
            match (event, how) {
                (Event::Pass(ms), _) => clock.advance(Duration::from_millis(ms)),
                (Event::Ask(0), _) => need = Need::Short,
                (Event::Ask(1), _) => need = Need::Long,
                (Event::Ask(_), _) => need = state.token().map_or(Need::Short, |t| Need::Instead(t.serial)),
                (Event::Reload, _) => { state.reload(); refused_at = None; }
                (Event::Looked(f), _) => {
                    state.looked(Some([f; 32]));
                    if refused_at.is_some_and(|(r, _)| r != f) { refused_at = None; }
                }
                (Event::Grant(life, refresh), Some(how)) => {
                    let g = tokens(life, refresh.then_some("r"), 1800);
                    state.granted(how, g, clock.0, &clock.0, matches!(need, Need::Instead(_)));
                    if how == GrantType::Login { last_login = Some(clock.0.instant); refused_at = None; }
                }
                (Event::Transient(after), Some(how)) => {
                    state.failed(how, transient(after), None, &clock.0);
                    if how == GrantType::Login { last_login = Some(clock.0.instant); }
                }
                (Event::Refused(f), Some(how)) => {
                    state.failed(how, refused(), Some([f; 32]), &clock.0);
                    if how == GrantType::Login {
                        last_login = Some(clock.0.instant);
                        refused_at = Some((f, clock.0.instant));
                    }
                }
                (_, None) => {}
            }
        }
    }
}
