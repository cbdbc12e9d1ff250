//! Web servers in front of `git http-backend`, and their configurations.
use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path, process::Command, process::Stdio};

use super::{executable, git, mirror::Setup, processes::program};

/// A web server of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Web {
    #[default]
    Nginx,
    Lighttpd,
    Apache,
}

impl Web {
    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Web::Nginx => "nginx",
            Web::Lighttpd => "lighttpd",
            Web::Apache => "apache2",
        }
    }

    /// Returns the part of a URL that precedes the name of a repository.
    pub fn prefix(self) -> &'static str {
        match self {
            Web::Nginx => "",
            Web::Lighttpd | Web::Apache => "/git",
        }
    }
}

/// Puts a file with the token, as the password of `x-access-token`, into `folder`.
pub fn write_htpasswd(folder: &Path, token: &str) {
    let mut openssl = Command::new(program("openssl"));
    openssl
        .args(["passwd", "-apr1", "-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = openssl.spawn().expect("openssl runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(token.as_bytes())
        .expect("it reads");
    let hashed = child.wait_with_output().expect("it ends").stdout;
    let line = format!("x-access-token:{}", String::from_utf8_lossy(&hashed));
    fs::write(folder.join("htpasswd"), line).expect("a file for the token");
}

/// Apache never works as root, so files that root creates must be accessible to everybody.
pub fn let_everybody_write(repository: &Path) {
    git::git(repository, &["config", "core.sharedRepository", "0777"]);
    let mut chmod = Command::new("chmod");
    assert!(
        chmod
            .args(["-R", "a+rwX"])
            .arg(repository)
            .status()
            .expect("chmod runs")
            .success()
    );
}

/// The configuration of the server that `setup` names, whose files are in `folder`.
pub(super) fn configuration(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    match setup.web {
        Web::Nginx => nginx(folder, port, setup),
        Web::Lighttpd => lighttpd(folder, port, setup),
        Web::Apache => apache(folder, port, setup),
    }
}

fn nginx(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    let at = folder.display();
    let exec_path = git::git(folder, &["--exec-path"]);
    let [global, no_system, _] = git::ISOLATED.map(|(name, value)| format!("fastcgi_param {name} {value};"));
    let authentication = match setup.token.is_some() {
        true => format!("auth_basic mirror; auth_basic_user_file {at}/htpasswd;"),
        false => String::new(),
    };
    let protocol = match setup.protocol_0_only {
        true => "fastcgi_param HTTP_GIT_PROTOCOL '';",
        false => "fastcgi_param GIT_PROTOCOL $http_git_protocol;",
    };
    let tls = match setup.tls {
        true => format!("ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;"),
        false => String::new(),
    };
    let client = match setup.client_certificates {
        true => format!("ssl_client_certificate {at}/authority.pem; ssl_verify_client on;"),
        false => String::new(),
    };
    // Some servers do not accept chunked requests.
    let chunks = match setup.takes_chunks {
        true => "",
        false => "if ($http_transfer_encoding) { return 411; }",
    };
    let backend = match setup.delay {
        Some(seconds) => slow_backend(folder, &exec_path, seconds),
        None => format!("{exec_path}/git-http-backend"),
    };
    let max_body = setup.max_body.unwrap_or("0");
    let ssl = if setup.tls { " ssl" } else { "" };
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
    let temporary = temporary
        .map(|what| format!("{what}_temp_path {at}/{what};"))
        .join("\n");
    format!(
        "daemon off;
worker_processes 1;
{user}
pid {at}/nginx.pid;
error_log {at}/error.log;
events {{ worker_connections 64; }}
http {{
    {temporary}
    log_format requests '$request_method $request_uri $status $body_bytes_sent';
    access_log {at}/access.log requests;
    log_format sizes '$request_length';
    access_log {at}/sizes.log sizes;
    client_max_body_size {max_body};
    server {{
        listen 127.0.0.1:{port}{ssl};
        {tls}
        {client}
        location = /-/probe {{ access_log off; return 204; }}
        {chunks}
        location / {{
            {authentication}
            fastcgi_pass unix:{at}/fcgiwrap.socket;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {at}/repositories;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            {protocol}
            {global}
            {no_system}
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_USER $remote_user;
            fastcgi_param REMOTE_ADDR $remote_addr;
        }}
    }}
}}
"
    )
}

/// A program that waits before it runs git http-backend.
fn slow_backend(folder: &Path, exec_path: &str, seconds: &str) -> String {
    let path = folder.join("slow-backend");
    executable::script(&path, &format!("sleep {seconds}\nexec {exec_path}/git-http-backend"));
    path.display().to_string()
}

/// See git-http-backend, *EXAMPLES*.
fn lighttpd(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    let at = folder.display();
    let exec_path = git::git(folder, &["--exec-path"]);
    let [global, no_system, _] = git::ISOLATED.map(|(name, value)| format!("\"{name}\" => \"{value}\""));
    let authentication = match setup.token.is_some() {
        true => format!(
            "auth.backend = \"htpasswd\"\nauth.backend.htpasswd.userfile = \"{at}/htpasswd\"\n\
             auth.require = (\"/\" => (\"method\" => \"basic\", \"realm\" => \"mirror\", \"require\" => \"valid-user\"))"
        ),
        false => String::new(),
    };
    let tls = match setup.tls {
        true => {
            format!("ssl.engine = \"enable\"\nssl.pemfile = \"{at}/server.pem\"\nssl.privkey = \"{at}/server.key\"")
        }
        false => String::new(),
    };
    format!(
        "server.modules = (\"mod_auth\", \"mod_authn_file\", \"mod_setenv\", \"mod_alias\", \"mod_cgi\", \"mod_openssl\")
server.document-root = \"{at}\"
server.bind = \"127.0.0.1\"
server.port = {port}
server.errorlog = \"{at}/error.log\"
server.upload-dirs = (\"{at}\")
{tls}
{authentication}
alias.url = (\"/git\" => \"{exec_path}/git-http-backend\")
cgi.assign = (\"\" => \"\")
setenv.add-environment = (\"GIT_PROJECT_ROOT\" => \"{at}/repositories\", \"GIT_HTTP_EXPORT_ALL\" => \"1\", {global}, {no_system})
"
    )
}

/// See git-http-backend, *EXAMPLES*.
fn apache(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    // The server's workers are not root.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it can be entered");
    let at = folder.display();
    let exec_path = git::git(folder, &["--exec-path"]);
    let [global, no_system, _] = git::ISOLATED.map(|(name, value)| format!("SetEnv {name} {value}"));
    let modules = [
        "mpm_prefork",
        "authz_core",
        "authz_user",
        "authn_core",
        "authn_file",
        "auth_basic",
        "alias",
        "env",
        "cgi",
        "ssl",
    ];
    let modules = modules
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"))
        .join("\n");
    let user = match rustix::process::geteuid().is_root() {
        true => "User www-data\nGroup www-data",
        false => "",
    };
    let access = match setup.token.is_some() {
        true => format!("AuthType Basic\nAuthName mirror\nAuthUserFile {at}/htpasswd\nRequire valid-user"),
        false => "Require all granted".to_owned(),
    };
    let tls = match setup.tls {
        true => format!("SSLEngine on\nSSLCertificateFile {at}/server.pem\nSSLCertificateKeyFile {at}/server.key"),
        false => String::new(),
    };
    format!(
        "{modules}
{user}
ServerName 127.0.0.1
ServerRoot {at}
DefaultRuntimeDir {at}
PidFile {at}/apache.pid
ErrorLog {at}/error.log
Listen 127.0.0.1:{port}
StartServers 2
{tls}
SetEnv GIT_PROJECT_ROOT {at}/repositories
SetEnv GIT_HTTP_EXPORT_ALL 1
SetEnv GIT_CONFIG_COUNT 1
SetEnv GIT_CONFIG_KEY_0 safe.directory
SetEnv GIT_CONFIG_VALUE_0 *
{global}
{no_system}
ScriptAlias /git {exec_path}/git-http-backend
<Location />
{access}
</Location>
"
    )
}
