//! TLS by rustls with the ring provider: what is trusted and shown, and the non-blocking stream.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{Fault, TlsOptions};

/// Where systems keep the authorities they trust, the first that exists; `SSL_CERT_FILE` comes before them.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Plaintext that rustls may hold for the kernel; a write beyond it waits for room.
const HELD_BYTES: usize = 256 * 1024;

/// Reads the files of `options` into what every connection shares.
pub fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Options(format!("TLS: {error}")))?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        builder.with_root_certificates(roots(options.cacert.as_deref())?)
    };
    let mut config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| Fault::File { path: key.clone(), problem: error.to_string() })?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| client_fault(error, cert, key))?
        }
        _ => builder.with_no_client_auth(),
    };
    // Every connection pays the whole handshake, as connections of as many processes would.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whose fault it is that a client's certificate and key cannot be used.
fn client_fault(error: rustls::Error, cert: &Path, key: &Path) -> Fault {
    let (path, problem) = match error {
        rustls::Error::InvalidCertificate(_) => (cert, error.to_string()),
        rustls::Error::InconsistentKeys(_) => {
            (key, format!("not the key of the certificate in {}", cert.display()))
        }
        _ => (key, error.to_string()),
    };
    Fault::File { path: path.into(), problem }
}

fn roots(cacert: Option<&Path>) -> Result<RootCertStore, Fault> {
    let path = match cacert {
        Some(path) => path.to_path_buf(),
        None => system_bundle()?,
    };
    let mut store = RootCertStore::empty();
    // A system's bundle may hold some that webpki does not read; one's own file must be whole.
    for certificate in certificates(&path)? {
        if let Err(error) = store.add(certificate)
            && cacert.is_some()
        {
            return Err(Fault::File { path, problem: error.to_string() });
        }
    }
    Ok(store)
}

fn system_bundle() -> Result<PathBuf, Fault> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    named.into_iter().chain(known).find(|path| path.exists()).ok_or_else(|| {
        Fault::Options("this system keeps no list of authorities: give --cacert or --insecure".into())
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |problem: String| Fault::File { path: path.into(), problem };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fault(error.to_string()));
    match found {
        Ok(list) if list.is_empty() => Err(fault("no certificate in it".into())),
        found => found,
    }
}

/// `--insecure`: any certificate will do, though whoever shows it must hold its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One side of a TLS connection over a non-blocking socket.
pub struct TlsStream {
    session: ClientConnection,
    socket: TcpStream,
}

impl TlsStream {
    pub fn new(mut session: ClientConnection, socket: TcpStream) -> Self {
        session.set_buffer_limit(Some(HELD_BYTES));
        Self { session, socket }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Fills `buffer` as far as the socket allows, so that less than a full buffer means an empty socket.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < buffer.len() {
            match self.session.reader().read(&mut buffer[taken..]) {
                // The peer said goodbye; what came before it counts first.
                Ok(0) => return Ok(taken),
                Ok(len) => taken += len,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return some_or(taken, error),
                Err(_) => {
                    if let Err(error) = self.fetch() {
                        return some_or(taken, error);
                    }
                }
            }
        }
        Ok(taken)
    }

    /// Takes what the socket has and decrypts it.
    fn fetch(&mut self) -> io::Result<()> {
        if self.session.read_tls(&mut self.socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let processed = self.session.process_new_packets();
        // A handshake step, an answer to a key update, or the alert that says what is wrong.
        let sent = self.flush();
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}")))?;
        match sent {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Encrypts what there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.session.writer().write(bytes)? {
            0 => {
                self.flush()?;
                // Still nothing: the handshake is not over, and the room is full of what waits for its end.
                match self.session.writer().write(bytes)? {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    taken => Ok(taken),
                }
            }
            taken => Ok(taken),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

/// An error waits for the next read if bytes came before it.
fn some_or(taken: usize, error: io::Error) -> io::Result<usize> {
    if taken > 0 { Ok(taken) } else { Err(error) }
}
