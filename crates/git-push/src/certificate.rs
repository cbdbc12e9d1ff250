//! Push certificates: a signed list of the commands (gitprotocol-pack, *Push Certificate*).
//!
//! The server offers the capability `push-cert` with a nonce, which the certificate repeats. The signature covers everything
//! before it. Keys and programs are up to the [`Signer`].
use bstr::{BStr, BString, ByteSlice, ByteVec};

use super::{Capabilities, Error, ErrorKind, Request};

/// Limit of a nonce in bytes, as for git.
const MAX_NONCE: usize = 255;

/// Signs push certificates.
pub trait Signer {
    /// Returns the values of the lines `pusher` (key or person, time and time zone) and `pushee` (the URL of the remote).
    ///
    /// # Errors
    /// There is no key.
    fn parties(&self) -> Result<(BString, BString), Error>;

    /// Returns the signature of a certificate, with its last line feed.
    ///
    /// # Errors
    /// The certificate could not be signed.
    fn sign(&self, certificate: &[u8]) -> Result<BString, Error>;
}

/// Returns the nonce of a server that accepts certificates.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it does not, or the nonce has other characters than git's.
pub(super) fn nonce(offered: &Capabilities) -> Result<&BStr, Error> {
    let misconfigured = |what: String| Error::new(ErrorKind::Misconfigured, what);
    let Some(nonce) = offered.value("push-cert") else {
        return Err(misconfigured("the receiving end does not support --signed push".into()));
    };
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-./+=_".contains(byte);
    if nonce.len() > MAX_NONCE || !nonce.iter().all(fits) {
        let shown = super::cleaned(&nonce[..nonce.len().min(MAX_NONCE)]);
        return Err(misconfigured(format!(
            "the receiving end asked to sign an invalid nonce <{shown}>"
        )));
    }
    Ok(nonce)
}

/// Returns the signed certificate for a request.
pub(super) fn signed(request: &Request, nonce: &BStr, signer: &dyn Signer) -> Result<BString, Error> {
    let (pusher, pushee) = signer.parties()?;
    let mut certificate = BString::from(format!("certificate version 0.1\npusher {pusher}\n"));
    if !pushee.is_empty() {
        certificate.push_str(format!("pushee {pushee}\n"));
    }
    certificate.push_str(format!("nonce {nonce}\n"));
    for option in &request.push_options {
        certificate.push_str([b"push-option ", option.as_bytes(), b"\n"].concat());
    }
    certificate.push_byte(b'\n');
    for command in &request.commands {
        certificate.push_str(format!("{} {} ", command.old, command.new));
        certificate.push_str(&command.name);
        certificate.push_byte(b'\n');
    }
    let signature = signer.sign(&certificate)?;
    certificate.push_str(signature);
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use gix::{ObjectId, hash::Kind};

    use super::super::{Command, pkt_line, request};
    use super::*;

    struct Fixed;

    impl Signer for Fixed {
        fn parties(&self) -> Result<(BString, BString), Error> {
            Ok(("key 1700000000 +0000".into(), "https://host/r".into()))
        }

        fn sign(&self, certificate: &[u8]) -> Result<BString, Error> {
            Ok(format!("signature of {} bytes\n", certificate.len()).into())
        }
    }

    fn offered(nonce: &str) -> Capabilities {
        Capabilities {
            list: vec![("push-cert".into(), Some(nonce.into()))],
        }
    }

    #[test]
    fn a_certificate_replaces_the_commands() {
        let id = ObjectId::Sha1([0xab; 20]);
        let commands = vec![Command::create("refs/heads/main", id)];
        let plain = Request::new(commands, Kind::Sha1, vec!["atomic".into(), "push-options".into()]);
        let plain = plain.with_push_options(vec!["a b".into()]);
        let certificate = signed(&plain, "n-1".into(), &Fixed).expect("a signature");
        let (zero, hex) = ("0".repeat(40), "ab".repeat(20));
        let payload = format!(
            "certificate version 0.1\npusher key 1700000000 +0000\npushee https://host/r\nnonce n-1\n\
             push-option a b\n\n{zero} {hex} refs/heads/main\n"
        );
        assert_eq!(certificate, format!("{payload}signature of {} bytes\n", payload.len()));
        let mut expected = Vec::new();
        pkt_line::data(&mut expected, b"push-cert\0 atomic push-options");
        for line in certificate.lines_with_terminator() {
            pkt_line::data(&mut expected, line);
        }
        pkt_line::data(&mut expected, b"push-cert-end\n");
        expected.extend_from_slice(b"00000007a b0000");
        assert_eq!(
            request::head(&plain.with_certificate(certificate)).as_bstr(),
            expected.as_bstr()
        );
    }

    #[test]
    fn a_nonce_that_could_forge_lines_is_refused() {
        assert_eq!(nonce(&offered("1-a_b/c+d=")).expect("a nonce"), "1-a_b/c+d=");
        for bad in ["a b", "a\nb", &"x".repeat(256)] {
            assert!(nonce(&offered(bad)).is_err(), "{bad}");
        }
        assert!(nonce(&Capabilities::default()).is_err());
    }
}
