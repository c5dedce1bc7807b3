//! The port: opened, or an error with the line that works.

use super::StartError;
use anyhow::anyhow;
use std::{io::ErrorKind, net::SocketAddr};
use tokio::net::TcpListener;

/// Ports looked at after a taken one.
const PORTS_TRIED: u16 = 100;

/// Refuses to listen where strangers could reach us and nobody is asked for a token.
pub fn check_exposure(address: SocketAddr, has_tokens: bool, insecure: bool) -> Result<(), StartError> {
    if address.ip().to_canonical().is_loopback() || has_tokens || insecure {
        return Ok(());
    }
    Err(StartError::Refused(format!(
        "{address} can be reached from other machines, and no token is configured: anybody could write and read.\n\
         Either run `observatory token new` and put the lines it prints under `auth: tokens:` in the file given with \
         --config,\nor listen on 127.0.0.1 (the default),\nor accept the risk with --insecure-public-http."
    )))
}

/// Opens the port. `rest` are the other arguments as given, for the line to copy.
pub async fn open(address: SocketAddr, rest: &str) -> Result<TcpListener, StartError> {
    let cause = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(cause) => cause,
    };
    Err(match cause.kind() {
        ErrorKind::AddrInUse => {
            let mut message = format!("{address} is taken by another program, perhaps a Prometheus.");
            if let Some(free) = free_after(address).await {
                message.push_str(&format!(" This works:\n\n  observatory up --listen {free}{rest}\n"));
            }
            StartError::Failed(anyhow!(message))
        }
        ErrorKind::PermissionDenied => StartError::Failed(anyhow!(
            "{address} may not be opened by this user: ports below 1024 are reserved; choose another with --listen"
        )),
        ErrorKind::AddrNotAvailable => StartError::Failed(anyhow!(
            "{address} is no address of this machine; choose another with --listen, such as 127.0.0.1:{}",
            address.port()
        )),
        _ => StartError::Failed(anyhow::Error::new(cause).context(format!("{address} cannot be opened"))),
    })
}

/// The next port that could be opened just now.
async fn free_after(taken: SocketAddr) -> Option<SocketAddr> {
    for port in taken.port().saturating_add(1)..=taken.port().saturating_add(PORTS_TRIED) {
        let address = SocketAddr::new(taken.ip(), port);
        if TcpListener::bind(address).await.is_ok() {
            return Some(address);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_needs_a_token_or_a_word() {
        for (address, tokens, insecure, allowed) in [
            ("127.0.0.1:9090", false, false, true),
            ("[::1]:9090", false, false, true),
            ("[::ffff:127.0.0.1]:9090", false, false, true),
            ("0.0.0.0:9090", false, false, false),
            ("[::]:9090", false, false, false),
            ("10.0.0.5:9090", false, false, false),
            ("0.0.0.0:9090", true, false, true),
            ("0.0.0.0:9090", false, true, true),
        ] {
            let found = check_exposure(address.parse().unwrap(), tokens, insecure);
            assert_eq!(found.is_ok(), allowed, "{address}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_names_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let held = TcpListener::bind(taken).await.unwrap();
        let message = open(taken, " --data here").await.unwrap_err().to_string();
        drop(held);
        assert!(
            message.contains("observatory up --listen 127.0.0.1:") && message.contains(" --data here\n"),
            "{message}"
        );
    }
}
