//! Key sets at a URL: fetched at the start and every so often, never because of a token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Tokens;
use super::keys::{FILE_BYTES_MAX, Keys};

/// How long one fetch may take.
const LONGEST: Duration = Duration::from_secs(10);

/// How soon a fetch that failed is tried again, in seconds, if not sooner by the configuration.
const AGAIN_S: u64 = 30;

/// Fetches one key set for ever. What cannot be used leaves the old keys in place.
pub(super) async fn keep_fetching(tokens: Arc<Tokens>, at: usize) {
    let Some(source) = tokens.sources.get(at) else { return };
    let Some(url) = &source.config.jwks_url else { return };
    loop {
        let wait_s = match once(url, &source.keys).await {
            Ok(keys) => {
                tracing::info!(%url, keys, "key set fetched");
                source.config.refresh_s
            }
            Err(error) => {
                tracing::warn!(%url, %error, "key set not fetched; the old keys stay");
                source.config.refresh_s.min(AGAIN_S)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(wait_s)) => {}
            () = source.keys.wanted.notified() => {}
        }
    }
}

/// Fetches a key set and takes it in place of the old one; how many keys it has.
///
/// # Errors
/// It cannot be fetched or used.
pub(super) async fn once(url: &str, keys: &Keys) -> Result<usize, String> {
    let fetched = tokio::time::timeout(LONGEST, get(url)).await;
    let fetched = fetched.unwrap_or_else(|_| Err("no answer in time".into()));
    fetched.and_then(|set| keys.replace(&set))
}

/// Looks whether a key set may be fetched from there: over plain HTTP it could be anybody's.
///
/// # Errors
/// What is wrong with the URL.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    parse(url).map(|_| ())
}

struct Place {
    host: String,
    port: u16,
    is_tls: bool,
    authority: String,
    path: String,
}

fn parse(url: &str) -> Result<Place, String> {
    let wrong = || format!("`{url}` is no URL: write https://host/path");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_loopback(&host) => false,
        Some("http") => return Err(format!("`{url}`: keys come over https only, but from here")),
        _ => return Err(wrong()),
    };
    if authority.as_str().contains('@') {
        return Err("a URL with a password is not fetched".into());
    }
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Place { host, port, is_tls, authority: authority.to_string(), path })
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn get(url: &str) -> Result<Vec<u8>, String> {
    let place = parse(url)?;
    let tcp = TcpStream::connect((place.host.as_str(), place.port)).await;
    let tcp = tcp.map_err(|error| error.to_string())?;
    if !place.is_tls {
        return ask(tcp, &place).await;
    }
    let name = ServerName::try_from(place.host.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls()?));
    let stream = connector.connect(name, tcp).await.map_err(|error| error.to_string())?;
    ask(stream, &place).await
}

fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// One request on a line of its own. Redirects are not followed: they could lead anywhere.
async fn ask<S>(stream: S, place: &Place) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, line) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(&place.path)
        .header("host", &place.authority)
        .header("accept", "application/json")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        let body = axum::body::to_bytes(Body::new(response.into_body()), FILE_BYTES_MAX).await;
        body.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    };
    let mut line = std::pin::pin!(line);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The line may end as soon as the answer is there.
        _ = &mut line => answer.await,
    }
}
