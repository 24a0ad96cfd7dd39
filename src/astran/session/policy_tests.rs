use super::*;
use proptest::prelude::*;
use reqwest::header::HeaderValue;
use std::time::SystemTime;

/// A clock that the test advances; both clocks go together.
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

fn tokens(lifetime: u64, refresh: Option<&str>, refresh_lifetime: u64) -> TokenResponse {
    TokenResponse {
        header: HeaderValue::from_static("Bearer x"),
        lifetime: (lifetime > 0).then(|| Duration::from_secs(lifetime)),
        refresh_token: refresh.map(|r| SecretString::from(r.to_owned())),
        refresh_lifetime: (refresh_lifetime > 0).then(|| Duration::from_secs(refresh_lifetime)),
    }
}

fn attempt(grant_type: GrantType, clock: &Clock) -> TokenAttempt {
    TokenAttempt { grant_type, sent: clock.0, replacement: false, secrets: None }
}

fn replacement(grant_type: GrantType, clock: &Clock) -> TokenAttempt {
    TokenAttempt { replacement: true, ..attempt(grant_type, clock) }
}

fn login_with(secrets: Fingerprint, clock: &Clock) -> TokenAttempt {
    TokenAttempt { secrets: Some(secrets), ..attempt(GrantType::Login, clock) }
}

fn logged_in(lifetime: u64) -> (TokenPolicy, Clock) {
    let (mut policy, clock) = (TokenPolicy::new(Duration::from_secs(5)), Clock::new());
    policy.granted(&attempt(GrantType::Login, &clock), tokens(lifetime, Some("r1"), 1800), &clock.0);
    (policy, clock)
}

fn refused() -> TokenError {
    TokenError::Refused("wrong".into())
}

fn transient(retry_after: Option<u64>) -> TokenError {
    TokenError::Transient { message: "down".into(), retry_after: retry_after.map(Duration::from_secs) }
}

#[test]
fn a_token_is_used_then_refreshed_early_then_replaced_by_a_login() {
    let (policy, mut clock) = logged_in(300);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Use(_)));
    clock.secs(151);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Use(_)));
    assert!(matches!(policy.next_step(TokenNeed::Long, &clock.0), TokenStep::Refresh), "less than half is left");
    clock.secs(119);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Refresh));
    clock.secs(1530);
    assert!(
        matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Login),
        "the session idled out: no vain refresh"
    );
}

#[test]
fn refresh_expires_in_zero_is_not_expired() {
    let (mut policy, mut clock) = (TokenPolicy::new(Duration::ZERO), Clock::new());
    policy.granted(&attempt(GrantType::Login, &clock), tokens(5, Some("offline"), 0), &clock.0);
    clock.secs(86_400);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Refresh));
}

#[test]
fn a_refresh_keeps_the_old_refresh_token_unless_a_new_one_comes() {
    use secrecy::ExposeSecret;
    let (mut policy, clock) = logged_in(300);
    policy.granted(&attempt(GrantType::Refresh, &clock), tokens(300, None, 0), &clock.0);
    assert_eq!(policy.refresh_token().unwrap().expose_secret(), "r1");
    policy.granted(&attempt(GrantType::Refresh, &clock), tokens(300, Some("r2"), 0), &clock.0);
    assert_eq!(policy.refresh_token().unwrap().expose_secret(), "r2");
    policy.granted(&attempt(GrantType::Login, &clock), tokens(300, None, 0), &clock.0);
    assert!(policy.refresh_token().is_none());
}

#[test]
fn shortened_lifetimes_ask_for_a_login() {
    let (mut policy, mut clock) = logged_in(300);
    clock.secs(280);
    policy.granted(&attempt(GrantType::Refresh, &clock), tokens(149, Some("r2"), 1800), &clock.0);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Login));
    policy.failed(&attempt(GrantType::Login, &clock), transient(None), &clock.0);
    assert!(
        matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Use(_)),
        "the calls go on with it meanwhile"
    );
}

#[test]
fn any_refusal_of_a_refresh_is_a_login_at_once() {
    let (mut policy, mut clock) = logged_in(300);
    clock.secs(280);
    policy.failed(&attempt(GrantType::Refresh, &clock), refused(), &clock.0);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Login));
}

#[test]
fn a_refresh_that_fails_is_tried_again_later_while_the_token_lives() {
    let (mut policy, mut clock) = logged_in(300);
    clock.secs(275);
    policy.failed(&attempt(GrantType::Refresh, &clock), transient(None), &clock.0);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Use(_)));
    clock.secs(5);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Refresh));
    policy.failed(&attempt(GrantType::Refresh, &clock), transient(Some(60)), &clock.0);
    clock.secs(30);
    let TokenStep::Refuse(error) = policy.next_step(TokenNeed::Short, &clock.0) else { panic!("the token is dead") };
    assert_eq!((error.kind, error.retry_after), (Kind::Unavailable, Some(Duration::from_secs(30))));
}

#[test]
fn a_refused_token_is_replaced_only_while_it_is_the_current_one() {
    let (mut policy, clock) = logged_in(300);
    assert!(
        matches!(policy.next_step(TokenNeed::Replacement(0), &clock.0), TokenStep::Use(_)),
        "another call has replaced it already"
    );
    assert!(matches!(policy.next_step(TokenNeed::Replacement(1), &clock.0), TokenStep::Refresh));
    policy.granted(&replacement(GrantType::Refresh, &clock), tokens(300, Some("r2"), 0), &clock.0);
    let TokenStep::Use(token) = policy.next_step(TokenNeed::Replacement(1), &clock.0) else { panic!() };
    let TokenStep::Refuse(error) = policy.next_step(TokenNeed::Replacement(2), &clock.0) else {
        panic!("brand-new and refused")
    };
    assert!(error.kind == Kind::Login && error.message.contains("brand-new"));
    token.accept();
    assert!(
        matches!(policy.next_step(TokenNeed::Replacement(2), &clock.0), TokenStep::Refresh),
        "it had worked, so it was revoked"
    );
}

#[test]
fn a_replacement_that_is_refused_later_is_replaced() {
    let (mut policy, mut clock) = logged_in(300);
    policy.granted(&replacement(GrantType::Refresh, &clock), tokens(300, Some("r2"), 0), &clock.0);
    clock.secs(30);
    assert!(matches!(policy.next_step(TokenNeed::Replacement(2), &clock.0), TokenStep::Refresh));
}

#[test]
fn a_refused_login_is_tried_again_after_ever_longer_suspensions() {
    let (mut policy, mut clock) = logged_in(10);
    clock.secs(2000);
    for minutes in [16u64, 32, 64, 128, 256, 360, 360] {
        assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Login));
        policy.failed(&login_with([1; 32], &clock), refused(), &clock.0);
        let TokenStep::Refuse(error) = policy.next_step(TokenNeed::Short, &clock.0) else { panic!() };
        assert!(error.kind == Kind::Login && error.message.contains("worked before"), "{error}");
        clock.secs(6);
        assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::CheckSecrets));
        policy.checking_secrets(&clock.0);
        policy.secrets_checked(Some([1; 32]));
        policy.secrets_checked(None);
        let TokenStep::Refuse(again) = policy.next_step(TokenNeed::Short, &clock.0) else {
            panic!("the same secret is not tried")
        };
        assert_eq!(again.message, error.message, "a caller that reports it once must see that it is the same");
        clock.secs(minutes * 60 - 6);
    }
}

#[test]
fn a_changed_secret_or_a_reload_is_tried_at_once() {
    for reload in [false, true] {
        let (mut policy, mut clock) = (TokenPolicy::new(Duration::from_secs(5)), Clock::new());
        policy.failed(&login_with([1; 32], &clock), refused(), &clock.0);
        let TokenStep::Refuse(error) = policy.next_step(TokenNeed::Short, &clock.0) else { panic!() };
        assert!(!error.message.contains("worked before"));
        clock.secs(5);
        if reload {
            policy.reload();
        } else {
            policy.secrets_checked(Some([2; 32]));
        }
        assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Login));
    }
}

#[test]
fn a_living_token_is_used_while_the_login_is_refused() {
    let (mut policy, mut clock) = logged_in(300);
    clock.secs(280);
    policy.failed(&attempt(GrantType::Login, &clock), refused(), &clock.0);
    assert!(matches!(policy.next_step(TokenNeed::Short, &clock.0), TokenStep::Use(_)));
    assert!(matches!(policy.next_step(TokenNeed::Replacement(1), &clock.0), TokenStep::Refuse(_)));
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Ask(u8),
    Grant(u64, bool),
    Transient(Option<u64>),
    Refused(u8),
    SecretsRead(u8),
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
        (0u8..3).prop_map(Event::SecretsRead),
        Just(Event::Reload),
    ]
}

proptest! {
    /// In any order of events: there is a pause between logins, a refused secret is not tried again before its suspension is over, and
    /// no call gets a token that is dead or that the service refused.
    #[test]
    fn the_rules_hold_in_any_order(events in prop::collection::vec(event(), 1..80)) {
        let (mut policy, mut clock) = (TokenPolicy::new(Duration::from_secs(5)), Clock::new());
        let (mut last_login, mut refused_at): (Option<Instant>, Option<(u8, Instant)>) = (None, None);
        let mut need = TokenNeed::Short;
        for event in events {
            let step = policy.next_step(need, &clock.0);
            if let TokenStep::Use(token) = &step {
                prop_assert!(token.lifetime.is_alive(&clock.0) && need != TokenNeed::Replacement(token.serial));
            }
            if let TokenStep::Wait(until) = &step {
                prop_assert!(*until > clock.0.instant);
            }
            let grant_type = match &step { TokenStep::Login => Some(GrantType::Login), TokenStep::Refresh => Some(GrantType::Refresh), _ => None };
            if grant_type == Some(GrantType::Login) {
                prop_assert!(last_login.is_none_or(|l| clock.0.instant >= l + BETWEEN_LOGINS));
                prop_assert!(refused_at.is_none_or(|(_, at)| clock.0.instant >= at + FIRST_SUSPENSION));
            }
            match (event, grant_type) {
                (Event::Pass(ms), _) => clock.advance(Duration::from_millis(ms)),
                (Event::Ask(0), _) => need = TokenNeed::Short,
                (Event::Ask(1), _) => need = TokenNeed::Long,
                (Event::Ask(_), _) => need = policy.token().map_or(TokenNeed::Short, |t| TokenNeed::Replacement(t.serial)),
                (Event::Reload, _) => { policy.reload(); refused_at = None; }
                (Event::SecretsRead(f), _) => {
                    policy.secrets_checked(Some([f; 32]));
                    if refused_at.is_some_and(|(r, _)| r != f) { refused_at = None; }
                }
                (Event::Grant(life, refresh), Some(grant_type)) => {
                    let g = tokens(life, refresh.then_some("r"), 1800);
                    let attempt = TokenAttempt { replacement: matches!(need, TokenNeed::Replacement(_)), ..attempt(grant_type, &clock) };
                    policy.granted(&attempt, g, &clock.0);
                    if grant_type == GrantType::Login { last_login = Some(clock.0.instant); refused_at = None; }
                }
                (Event::Transient(after), Some(grant_type)) => {
                    policy.failed(&attempt(grant_type, &clock), transient(after), &clock.0);
                    if grant_type == GrantType::Login { last_login = Some(clock.0.instant); }
                }
                (Event::Refused(f), Some(grant_type)) => {
                    let attempt = TokenAttempt { secrets: Some([f; 32]), ..attempt(grant_type, &clock) };
                    policy.failed(&attempt, refused(), &clock.0);
                    if grant_type == GrantType::Login {
                        last_login = Some(clock.0.instant);
                        refused_at = Some((f, clock.0.instant));
                    }
                }
                (_, None) => {}
            }
        }
    }
}
