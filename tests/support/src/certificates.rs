//! A private certificate authority, and its certificates: for a server at this machine's address, and for a client.
use std::{fs, path::Path, process::Command};

use super::processes::program;

/// Puts `authority.pem`, `server.pem`, `server.key`, `client.pem` and `client.key` into `folder`.
pub fn make(folder: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
        folder,
        "[v]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign\n",
        &[
            &[
                "req",
                "-x509",
                "-days",
                "2",
                "-subj",
                "/CN=authority",
                "-keyout",
                "authority.key",
            ][..],
            &key,
        ]
        .concat(),
        "authority.pem",
    );
    for (name, extensions) in [
        (
            "server",
            "subjectAltName = IP:127.0.0.1\nextendedKeyUsage = serverAuth\n",
        ),
        ("client", "extendedKeyUsage = clientAuth\n"),
    ] {
        let extensions = format!("[v]\nbasicConstraints = critical, CA:FALSE\n{extensions}");
        let (subject, secret) = (format!("/CN={name}"), format!("{name}.key"));
        let signed = ["-CA", "authority.pem", "-CAkey", "authority.key"];
        let request = ["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &secret];
        openssl(
            folder,
            &extensions,
            &[&request[..], &key, &signed].concat(),
            &format!("{name}.pem"),
        );
    }
}

/// Replaces `server.pem` and `server.key` in `folder` by a self-signed certificate with the flag of an authority, as
/// `openssl req -x509` makes one.
pub fn make_self_signed(folder: &Path) {
    let request = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=self",
        "-keyout",
        "server.key",
        "-nodes",
    ];
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let extensions = "[v]\nbasicConstraints = critical, CA:TRUE\nsubjectAltName = IP:127.0.0.1\n";
    openssl(folder, extensions, &[&request[..], &key].concat(), "server.pem");
}

fn openssl(folder: &Path, extensions: &str, arguments: &[&str], out: &str) {
    let configuration = format!("[req]\ndistinguished_name = name\nx509_extensions = v\n[name]\n{extensions}");
    fs::write(folder.join("openssl.conf"), configuration).expect("a file for openssl");
    let mut openssl = Command::new(program("openssl"));
    openssl.args(arguments).args(["-config", "openssl.conf", "-out", out]);
    let output = openssl.current_dir(folder).output().expect("openssl runs");
    assert!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
