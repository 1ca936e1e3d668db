//! Threats S32 to S36: tokens that somebody made up, and what a token may make the server do.

#![allow(clippy::unwrap_used)]

mod peer;
mod tokens;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Jwa, EncodingKey};
use peer::{Lines, start};
use roomcast::config::{Algorithm, NamespaceSection, TokenConfig};
use roomcast::{Config, Server};
use serde_json::{Value, json};
use tokens::{Pair, SECRET, claims, header, hs256, in_s, token};

fn section(text: &str) -> TokenConfig {
    toml::from_str(text).unwrap()
}

fn rs256(pair: &Pair) -> TokenConfig {
    let mut section = section("algorithm = \"RS256\"\nissuer = \"login\"\naudience = \"game\"");
    section.public_key = Some(pair.public.clone());
    section
}

fn server(tokens: Vec<TokenConfig>) -> Server {
    start(|config| {
        config.auth.anonymous = false;
        config.auth.tokens = tokens;
        for name in ["a", "b"] {
            config.namespaces.insert(name.to_owned(), NamespaceSection::default());
        }
    })
}

fn hello(server: &Server, token: &str) -> Value {
    let mut peer = Lines::connect(server);
    peer.send(&json!({"type": "hello", "ref": 1, "token": token}).to_string());
    peer.next().unwrap()
}

#[test]
fn tokens_of_every_kind_are_accepted() {
    for (algorithm, of) in [
        (Jwa::RS256, Algorithm::RS256),
        (Jwa::ES256, Algorithm::ES256),
        (Jwa::EdDSA, Algorithm::EdDSA),
    ] {
        let pair = Pair::new(algorithm);
        let mut tokens = section("algorithm = \"HS256\"");
        (tokens.algorithm, tokens.public_key) = (of, Some(pair.public.clone()));
        let server = server(vec![tokens]);
        assert_eq!(hello(&server, &pair.sign(&claims("mina")))["user"], "mina", "{of:?}");
        let other = Pair::new(algorithm);
        assert_eq!(hello(&server, &other.sign(&claims("mina")))["reason"], "invalid_token");
    }
    let server = server(vec![section(&format!("algorithm = \"HS256\"\nsecret = \"{SECRET}\""))]);
    assert_eq!(hello(&server, &hs256(&claims("mina")))["user"], "mina");
}

/// A good token's claims, but for what the caller changes.
fn good() -> Value {
    json!({"sub": "mina", "exp": in_s(600), "iss": "login", "aud": "game"})
}

type Forged = Vec<(&'static str, String)>;

/// What an attacker who knows the public key can make of it.
fn keys_and_headers(pair: &Pair) -> Forged {
    let text = good().to_string();
    let hs = |secret: &[u8]| {
        token(&header(Jwa::HS256), &text, &EncodingKey::from_secret(secret), Jwa::HS256)
    };
    let other = Pair::new(Jwa::RS256);
    let claiming = |key: &str, value: Value| {
        let mut head = header(Jwa::RS256);
        head[key] = value;
        token(&head, &text, &other.signing(), Jwa::RS256)
    };
    let unsigned = |algorithm: &str| {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
        format!("{head}.{}.", URL_SAFE_NO_PAD.encode(&text))
    };
    let der: String = pair.public.lines().filter(|line| !line.starts_with('-')).collect();
    let signed = pair.sign(&good());
    let (_, signature) = signed.rsplit_once('.').unwrap();
    let mut critical = header(Jwa::RS256);
    critical["crit"] = json!(["b64"]);
    critical["b64"] = false.into();
    vec![
        ("alg none", unsigned("none")),
        ("alg NONE", unsigned("NONE")),
        ("alg none with a signature", format!("{}{signature}", unsigned("none"))),
        ("HS256 with the public key, PEM", hs(pair.public.as_bytes())),
        ("HS256 with the public key, PEM and a blank", hs(format!("{} ", pair.public).as_bytes())),
        ("HS256 with the public key, PEM trimmed", hs(pair.public.trim().as_bytes())),
        ("HS256 with the public key, DER", hs(&STANDARD.decode(der).unwrap())),
        ("HS256 with an empty secret", hs(b"")),
        ("a kid that is a path", claiming("kid", json!("../../../../dev/null"))),
        ("a kid that is a query", claiming("kid", json!("x' UNION SELECT 'key'--"))),
        ("its own key in jwk", claiming("jwk", other.jwk("own"))),
        ("its own keys at jku", claiming("jku", json!("http://127.0.0.1:1/keys.json"))),
        ("its own certificate at x5u", claiming("x5u", json!("http://127.0.0.1:1/cert.pem"))),
        ("its own certificate in x5c", claiming("x5c", json!(["AAAA"]))),
        ("another key", other.sign(&good())),
        ("an unknown extension", token(&critical, &text, &pair.signing(), Jwa::RS256)),
    ]
}

/// What a signer that is not careful may sign.
fn claims_of_all_kinds(pair: &Pair) -> Forged {
    let with = |key: &str, value: Value| {
        let mut claims = good();
        claims[key] = value;
        pair.sign(&claims)
    };
    let without = |key: &str| {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(key);
        pair.sign(&claims)
    };
    vec![
        ("no exp", without("exp")),
        ("exp as text", with("exp", json!("9999999999"))),
        ("exp as a word", with("exp", json!("never"))),
        ("exp null", with("exp", Value::Null)),
        ("exp below zero", with("exp", json!(-1))),
        ("exp too great to be one", with("exp", json!(1e300))),
        ("exp passed", with("exp", json!(in_s(-60)))),
        ("exp a year away", with("exp", json!(in_s(366 * 86_400)))),
        ("nbf as text", with("nbf", json!("0"))),
        ("nbf to come", with("nbf", json!(in_s(600)))),
        ("iat to come", with("iat", json!(in_s(600)))),
        ("no issuer", without("iss")),
        ("another issuer", with("iss", json!("evil"))),
        ("several issuers", with("iss", json!(["evil", "login"]))),
        ("no audience", without("aud")),
        ("another audience", with("aud", json!("chat"))),
        ("no user", without("sub")),
        ("a user with a line break", with("sub", json!("mina\nroot"))),
        ("a user that is a list", with("sub", json!(["mina"]))),
        ("admin without leave", with("admin", json!(true))),
        ("admin as text", with("admin", json!("true"))),
        ("a right that is none", with("rooms", json!([{"room": "*", "can": ["fly"]}]))),
        ("a misspelt rule", with("rooms", json!([{"room": "*", "cna": ["join"]}]))),
        ("rules that are none", with("rooms", json!("*"))),
        ("too many rules", with("rooms", json!(vec![json!({"room": "*", "can": []}); 65]))),
        ("a long name", with("jti", json!("x".repeat(256)))),
    ]
}

/// Tokens that were changed or cut after they were signed, or signed although they are no tokens.
fn damaged(pair: &Pair) -> Forged {
    let text = good().to_string();
    let rs = |claims: &str| token(&header(Jwa::RS256), claims, &pair.signing(), Jwa::RS256);
    let signed = pair.sign(&good());
    let (body, signature) = signed.rsplit_once('.').unwrap();
    let (head, _) = body.split_once('.').unwrap();
    let swapped = URL_SAFE_NO_PAD.encode(text.replace("mina", "root"));
    vec![
        ("exp twice", rs(&text.replacen('{', "{\"exp\":1,", 1))),
        ("sub twice", rs(&text.replacen('{', "{\"sub\":\"root\",", 1))),
        ("claims that are no map", rs("[1]")),
        ("a signature cut short", signed[..signed.len() - 8].to_owned()),
        ("no signature", format!("{body}.")),
        ("claims changed", format!("{head}.{swapped}.{signature}")),
        ("two parts", body.to_owned()),
        ("four parts", format!("{signed}.{signature}")),
        ("no token at all", "not.a.token".to_owned()),
    ]
}

#[test]
fn s32_s33_forged_tokens_are_refused() {
    let pair = Pair::new(Jwa::RS256);
    let good = json!({"sub": "mina", "exp": in_s(600), "iss": "login", "aud": ["chat", "game"]});
    let server = server(vec![rs256(&pair)]);
    assert_eq!(hello(&server, &pair.sign(&good))["user"], "mina");
    let forged = [keys_and_headers(&pair), claims_of_all_kinds(&pair), damaged(&pair)];
    for (what, token) in forged.into_iter().flatten() {
        let answer = hello(&server, &token);
        assert_eq!(answer["reason"], "invalid_token", "{what}: {answer}");
        // The answer is for the client that showed it, but may come to stand in its log.
        let message = answer["message"].as_str().unwrap();
        let parts = token.split('.').filter(|part| part.len() > 8);
        assert!(parts.clone().all(|part| !message.contains(part)), "{what}: {message}");
    }
}

#[test]
fn s32_keys_that_anybody_could_know_are_refused_at_the_start() {
    let pair = Pair::new(Jwa::RS256);
    let fails = |change: &dyn Fn(&mut TokenConfig), words: &str| {
        let mut section = section("algorithm = \"HS256\"");
        change(&mut section);
        let mut config = Config::default();
        config.auth.tokens = vec![section];
        let said = config.check().unwrap_err().to_string();
        assert!(said.starts_with("auth.tokens[0]") && said.contains(words), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    fails(&|one| one.secret = Some("hunter2".repeat(4)), "at least 32");
    fails(&|one| one.secret = Some(pair.public.clone()), "PEM");
    fails(&|one| one.public_key = Some(pair.public.clone()), "HS256 needs one of");
    fails(&|_| {}, "HS256 needs one of");
    fails(
        &|one| {
            one.algorithm = Algorithm::RS256;
            one.public_key = Some(pair.private.clone());
        },
        "private key",
    );
    fails(
        &|one| {
            one.algorithm = Algorithm::RS256;
            one.public_key = Some("hunter2".into());
        },
        "no public key for RS256",
    );
    for url in ["http://login.example/keys", "ftp://127.0.0.1/", "keys", "https://a:b@c.example/"] {
        fails(
            &|one| {
                one.algorithm = Algorithm::ES256;
                one.jwks_url = Some(url.to_owned());
            },
            "",
        );
    }
}

#[test]
fn s35_the_keys_of_one_issuer_verify_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    // The same `kid`, as two tenants may well choose it.
    let tenant = |name: &str| {
        let pair = Pair::new(Jwa::ES256);
        let path = dir.path().join(name);
        std::fs::write(&path, json!({"keys": [pair.jwk("key-1")]}).to_string()).unwrap();
        let mut section = section("algorithm = \"ES256\"");
        section.issuer = Some(name.to_owned());
        section.namespaces = vec![name.to_owned()];
        section.jwks_file = Some(path);
        (pair, section)
    };
    let ((a, of_a), (b, of_b)) = (tenant("a"), tenant("b"));
    let server = start(|config| {
        config.listen =
            vec!["tcp://127.0.0.1:0?namespace=a".into(), "tcp://127.0.0.1:0?namespace=b".into()];
        config.auth.anonymous = false;
        config.auth.tokens = vec![of_a, of_b];
        for name in ["a", "b"] {
            config.namespaces.insert(name.to_owned(), NamespaceSection::default());
        }
    });
    let says = |issuer: &str| {
        let mut claims = claims("mina");
        claims["iss"] = issuer.into();
        claims
    };
    let at = |listener: usize, token: &str| {
        let mut peer = Lines::over(peer::connect(server.listeners()[listener].address));
        peer.send(&json!({"type": "hello", "ref": 1, "token": token}).to_string());
        let answer = peer.next().unwrap();
        (peer, answer)
    };
    let (mut peer, welcome) = at(0, &a.sign_as("key-1", &says("a")));
    assert_eq!(welcome["user"], "mina");
    assert_eq!(at(1, &b.sign_as("key-1", &says("b"))).1["user"], "mina");
    // Each with the other's name, and each in the other's namespace.
    assert_eq!(at(0, &b.sign_as("key-1", &says("a"))).1["reason"], "invalid_token");
    assert_eq!(at(1, &a.sign_as("key-1", &says("b"))).1["reason"], "invalid_token");
    assert_eq!(at(1, &a.sign_as("key-1", &says("a"))).1["reason"], "invalid_token");
    // Nor by the way of a room's name, or of a rule for it.
    peer.send(r#"{"type":"join","ref":2,"room":"b/lobby"}"#);
    assert_eq!(peer.next().unwrap()["reason"], "forbidden");
    peer.send(r#"{"type":"join","ref":3,"room":"lobby"}"#);
    assert_eq!(peer.next().unwrap()["type"], "joined");
    let mut reaching = says("a");
    reaching["rooms"] = json!([{"room": "*/lobby", "can": ["join"]}]);
    assert_eq!(at(0, &a.sign_as("key-1", &reaching)).1["reason"], "invalid_token");
}

#[test]
fn s37_a_revoked_user_is_put_out_of_all_workers() {
    let server = server(vec![section(&format!("algorithm = \"HS256\"\nsecret = \"{SECRET}\""))]);
    let token = hs256(&claims("mina"));
    let mut links: Vec<_> = (0..8).map(|_| Lines::connect(&server)).collect();
    for link in &mut links {
        link.send(&json!({"type": "hello", "ref": 1, "token": token}).to_string());
        assert_eq!(link.next().unwrap()["user"], "mina");
    }
    let mina = roomcast::Revoked::User(roomcast::Name::new("mina").unwrap());
    assert_eq!(server.handle().revoke(mina).wait().unwrap(), 8);
    for link in &mut links {
        assert_eq!(link.next().unwrap()["reason"], "unauthorized");
        assert_eq!(link.next(), None);
    }
    assert_eq!(hello(&server, &token)["reason"], "invalid_token");
    assert_eq!(hello(&server, &hs256(&claims("zoe")))["user"], "zoe");
}

#[test]
fn s37_a_clock_that_is_ahead_does_not_save_a_token_from_a_revocation() {
    let text = format!("algorithm = \"HS256\"\nleeway_s = 300\nsecret = \"{SECRET}\"");
    let server = server(vec![section(&text)]);
    let mut ahead = claims("mina");
    ahead["iat"] = json!(in_s(200));
    assert_eq!(hello(&server, &hs256(&ahead))["user"], "mina");
    let mina = roomcast::Revoked::User(roomcast::Name::new("mina").unwrap());
    server.handle().revoke(mina).wait().unwrap();
    assert_eq!(hello(&server, &hs256(&ahead))["message"], "the token was revoked");
}

/// Knows no token, and falls over one of them.
struct Fragile;

impl roomcast::Authenticate for Fragile {
    fn authenticate(
        &self,
        _: roomcast::Now,
        _: &str,
        token: &str,
    ) -> Result<roomcast::Identity, roomcast::Refusal> {
        assert_ne!(token, "pepper", "on purpose");
        Err(roomcast::Refusal::new(roomcast::ErrorCode::InvalidToken, "not known"))
    }
}

#[test]
fn a_token_that_the_programs_own_judge_falls_over_ends_nothing() {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").authenticate(Fragile);
    let server = builder.start().unwrap();
    assert_eq!(hello(&server, "pepper")["reason"], "internal");
    assert_eq!(hello(&server, "salt")["reason"], "invalid_token");
}
